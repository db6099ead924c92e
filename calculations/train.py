"""`TrainCalculation`: trains members of a committee."""

from __future__ import annotations

from typing import Any

from aiida.common.folders import Folder
from aiida.orm import Dict

from aiida_hqe.calculations.base import HQECalculation, copy, valid, write_frames, write_settings
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files


class TrainCalculation(HQECalculation):
    """``hqe-job train``: trains the members that its settings name, from scratch or on from a committee."""

    JOB = "train"
    RESULTS = (files.TRAINED, files.HISTORY)
    CACHE_VERSION = 2  # never lowered: version 2 stood for smaller first weights, which are a setting now

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of a train job."""
        super().define(spec)
        spec.input(
            "settings", valid_type=Dict, validator=valid(files.TrainJob), help="Architecture, objective, members, seed."
        )
        spec.input("frames", valid_type=FramesData, help="Labelled frames to learn from.")
        spec.input("committee", valid_type=CommitteeData, required=False, help="Committee to go on from.")
        spec.output("committee", valid_type=CommitteeData, required=False, help="The members that were trained.")
        spec.output("history", valid_type=Dict, required=False, help="Losses and errors of each member.")

    def write(self, folder: Folder) -> None:
        """Write the frames to learn from, and the settings."""
        write_frames(folder, self.inputs.frames)
        write_settings(folder, files.SETTINGS, files.TrainJob, self.inputs.settings)

    def copies(self) -> list[tuple[str, str, str]]:
        """The committee to go on from."""
        return [copy(self.inputs.committee, files.COMMITTEE)] if "committee" in self.inputs else []
