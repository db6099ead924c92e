"""`HQEParser`: how a job ended to an exit code; what it left to nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict, SinglefileData
from aiida.parsers import Parser
from pydantic import ValidationError

from aiida_hqe.errors import HQEError
from aiida_hqe.jobs import files

_EXIT_CODES = {
    "input": "ERROR_INPUT",
    "convergence": "ERROR_CONVERGENCE",
    "resource": "ERROR_RESOURCE",
    "integrity": "ERROR_INTEGRITY",
    "walltime": "ERROR_WALLTIME",
    "memory": "ERROR_MEMORY",
}

_SCHEDULER = {110: "memory", 120: "walltime", 140: "node failure"}
"""AiiDA's exit codes for what a scheduler says about the end of a job."""

_SLURM = {
    "due to time limit": "walltime",
    "exceeded memory limit": "memory",
    "oom_kill": "memory",
    "oom-kill": "memory",
    "due to node failure": "node failure",
}
"""What SLURM's own lines in the standard error of a job say about its end; AiiDA reads the first line alone."""


class HQEParser(Parser):
    """Parser of one job: `results` makes the nodes, this class decides the exit code of what went wrong."""

    CACHE_VERSION = 1

    _temporary: Path | None = None

    def parse(self, retrieved_temporary_folder: str | None = None, **_: Any) -> ExitCode | None:
        """Put out ``status`` and the results; the exit code is the first of: no status, failed, a result missing."""
        self._temporary = None if retrieved_temporary_folder is None else Path(retrieved_temporary_folder)
        try:
            status = self.status()
        except (ValidationError, UnicodeDecodeError) as error:
            return self.exit("ERROR_UNREADABLE", name=files.STATUS, message=_line(error))
        if status is None:
            return self.killed()
        self.out("status", Dict(status.model_dump(mode="json")))
        if status.state == "failed":
            return self.failed(status)
        return self.guarded(status)

    def guarded(self, status: files.Status) -> ExitCode | None:
        """`results`, with missing and unreadable files turned into exit codes."""
        try:
            return self.results(status)
        except FileNotFoundError as error:
            return self.exit("ERROR_MISSING_RESULT", name=error.filename)
        except (HQEError, ValidationError, ValueError) as error:
            return self.exit("ERROR_UNREADABLE", name="a result", message=_line(error))

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out the nodes of a job that ended with `status`."""
        raise NotImplementedError

    def killed(self) -> ExitCode:
        """Exit code of a job without status."""
        label = _EXIT_CODES.get(self.ended_by() or "")
        if label is not None:
            return self.exit(label, message="the scheduler ended it")
        return self.exit("ERROR_NO_STATUS", name=files.STATUS)

    def ended_by(self) -> str | None:
        """Why the scheduler ended the job, in a word; ``None`` where it did not, or does not say so."""
        return _SCHEDULER.get(self.node.exit_status or 0) or said_by_slurm(self.node.get_scheduler_stderr() or "")

    def failed(self, status: files.Status) -> ExitCode:
        """Exit code of a job that failed as a whole."""
        label = _EXIT_CODES.get(status.cause or "") or _EXIT_CODES.get(status.error_kind or "", "ERROR_FAILED")
        return self.exit(label, message=status.message or "no message")

    def status(self) -> files.Status | None:
        """How the job ended; ``None`` if it was killed."""
        if files.STATUS not in self.retrieved.base.repository.list_object_names():
            return None
        return files.Status.model_validate_json(self.retrieved.base.repository.get_object_content(files.STATUS))

    def left(self, name: str) -> bool:
        """Whether the job left a file."""
        return self._passing(name) is not None or name in self.retrieved.base.repository.list_object_names()

    def _passing(self, name: str) -> Path | None:
        """A file that is here only while it is parsed; ``None`` where it was kept, as an earlier version did, or is not there."""
        path = None if self._temporary is None else self._temporary / name
        return path if path is not None and path.is_file() else None

    @contextmanager
    def path(self, name: str) -> Iterator[Path]:
        """A retrieved file as a path; `FileNotFoundError` with its name if the job did not leave it."""
        passing = self._passing(name)
        if passing is not None:
            yield passing
            return
        if not self.left(name):
            raise FileNotFoundError(2, "the job did not leave it", name)
        with self.retrieved.base.repository.as_path(name) as path:
            yield path

    def file(self, name: str) -> SinglefileData:
        """A retrieved file as a node."""
        with self.path(name) as path:
            return SinglefileData(path.absolute(), filename=name)

    def exit(self, label: str, **values: Any) -> ExitCode:
        """Exit code `label` of the calculation, its message filled in."""
        return self.exit_codes[label].format(**values)


def said_by_slurm(stderr: str) -> str | None:
    """Why SLURM ended a job, in a word, by the standard error of the job; ``None`` where it did not."""
    said = [line.lower() for line in stderr.splitlines() if line.startswith(("slurmstepd", "srun"))]
    return next((cause for line in said for phrase, cause in _SLURM.items() if phrase in line), None)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
