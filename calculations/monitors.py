"""Monitor of running jobs: what the daemon reads of them where their folder is on another machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from aiida.orm import CalcJobNode

COUNTER = "hqe_progress"
"""Extra of a running job with its counter, as it was read last; `aiida_hqe.queries` reads it."""

ENTRY_POINT = "hqe.progress"
"""Name of `progress` among AiiDA's monitors."""

INTERVAL = 30
"""Seconds between two looks at a job."""


def progress(node: CalcJobNode, transport: Any) -> None:
    """Copy the counter of a running job into an extra of its node, for ``status`` and ``watch``; it never ends the job.

    Parameters
    ----------
    node
        The job.
    transport
        Open connection to its computer.
    """
    counter = read(node, transport)
    if counter is not None:
        node.base.extras.set(COUNTER, counter)


def read(node: CalcJobNode, transport: Any) -> list[int] | None:
    """Done and total of a job; ``None`` where it has not begun to count, or cannot be asked at the moment."""
    from aiida_hqe.jobs import files  # only here: `status` reads `COUNTER`, and need not wait for the schemas of jobs

    folder = node.get_remote_workdir()
    if folder is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / files.PROGRESS
        try:
            transport.getfile(str(Path(folder) / files.PROGRESS), str(copy))
            return list(files.counter(copy.read_text()))
        except (OSError, ValueError):
            return None
