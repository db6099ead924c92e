"""Processes that have ended, as the workchain that called them sees them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiida.common import AttributeDict


def ended(exit_status: int, message: str = "", **outputs: Any) -> Any:
    """A finished job, with its outputs."""
    return SimpleNamespace(
        is_finished=True,
        is_excepted=False,
        is_finished_ok=exit_status == 0,
        exit_status=exit_status,
        exit_message=message,
        process_label="job",
        pk=0,
        outputs=AttributeDict({name: node.store() for name, node in outputs.items()}),
    )
