"""`TrainParser`: ``trained.safetensors`` and ``history.json`` to nodes."""

from __future__ import annotations

import json

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.jobs import files
from aiida_hqe.parsers.base import HQEParser


class TrainParser(HQEParser):
    """The members are checked by their header, without torch."""

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``committee`` and ``history``."""
        with self.path(files.TRAINED) as path:
            committee = CommitteeData.from_file(path)
        with self.path(files.HISTORY) as path:
            history = json.loads(path.read_text(), parse_constant=lambda _: None)  # AiiDA stores no infinity
        self.out("committee", committee)
        self.out("history", Dict(history if isinstance(history, dict) else {"members": history}))
        return None
