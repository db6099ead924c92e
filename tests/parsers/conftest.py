from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def parse(hqe_code: Any, tmp_path: Path) -> Callable[..., Any]:
    """Parse a folder of files as the result of a job with these inputs; returns outputs and the parser's process node.

    What a job's parser alone reads lies in a folder of its own, unless it was `kept`, as in earlier versions.
    """
    from aiida import orm
    from aiida.common import LinkType
    from aiida.plugins import CalculationFactory, ParserFactory

    def run(
        job: str, contents: Mapping[str, str | bytes], scheduler: int = 0, kept: bool = False, **inputs: Any
    ) -> tuple[Any, Any]:
        node = orm.CalcJobNode(computer=hqe_code.computer, process_type=f"aiida.calculations:hqe.{job}")
        for name, value in inputs.items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_CALC, link_label=name)
        if scheduler:
            node.set_exit_status(scheduler)
        node.store()
        retrieved = orm.FolderData()
        passing = () if kept else CalculationFactory(f"hqe.{job}").READ
        for name, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            if name in passing:
                (tmp_path / name).write_bytes(data)
            else:
                retrieved.base.repository.put_object_from_bytes(data, name)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label="retrieved")
        retrieved.store()
        folder = str(tmp_path) if passing else None
        return ParserFactory(f"hqe.{job}").parse_from_node(node, retrieved_temporary_folder=folder)

    return run


@pytest.fixture(scope="session")
def status() -> Callable[..., str]:
    """Text of a ``status.json``."""

    def make(state: str = "finished", **entries: Any) -> str:
        return json.dumps({"state": state, "seconds": 1.5, "peak_memory": 200.0, **entries})

    return make
