"""`PrepareParser`: ``final.h5`` to a node."""

from __future__ import annotations

from aiida.engine import ExitCode

from aiida_hqe.jobs import files
from aiida_hqe.parsers.base import HQEParser


class PrepareParser(HQEParser):
    """The assembly is kept as it is; the jobs that start from it validate it."""

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``assembly``."""
        self.out("assembly", self.file(files.FINAL))
        return None
