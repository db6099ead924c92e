"""`PredictCalculation`: what a committee says about frames."""

from __future__ import annotations

from typing import Any

from aiida.common.folders import Folder
from aiida.orm import SinglefileData

from aiida_hqe.calculations.base import HQECalculation, copy, write_frames
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files


class PredictCalculation(HQECalculation):
    """``hqe-job predict``: energies and forces of every member for every frame; of labelled frames, how far they are off."""

    JOB = "predict"
    RESULTS = (files.PREDICTIONS,)
    CACHE_VERSION = 2  # forces in single precision; residuals of labelled frames

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of a predict job."""
        super().define(spec)
        spec.input("committee", valid_type=CommitteeData, help="The committee.")
        spec.input("frames", valid_type=FramesData, help="Frames to predict.")
        spec.output(
            "predictions",
            valid_type=SinglefileData,
            required=False,
            help="HDF5: all that the members say of each frame; where frames are labelled, only how far that is off.",
        )

    def write(self, folder: Folder) -> None:
        """Write the frames to predict; a prediction has no settings."""
        write_frames(folder, self.inputs.frames)

    def copies(self) -> list[tuple[str, str, str]]:
        """The committee."""
        return [copy(self.inputs.committee, files.COMMITTEE)]
