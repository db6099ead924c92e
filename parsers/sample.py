"""`SampleParser`: ``sampled.h5`` and ``final.h5`` to nodes."""

from __future__ import annotations

from aiida.engine import ExitCode

from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files
from aiida_hqe.parsers.base import HQEParser


class SampleParser(HQEParser):
    """A sample that stopped early keeps the frames it has."""

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``frames`` and ``assembly``."""
        with self.path(files.SAMPLED) as path:
            frames = FramesData.from_file(path)
        self.out("frames", frames)
        self.out("assembly", self.file(files.FINAL))
        if status.state == "untrusted":
            return self.exit("ERROR_UNTRUSTED", message=status.message or "its disagreement grew too large")
        return None
