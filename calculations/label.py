"""`LabelCalculation`: labels a batch of frames at one level."""

from __future__ import annotations

from typing import Any

from aiida.common.folders import Folder
from aiida.orm import Dict

from aiida_hqe.calculations.base import HQECalculation, copy, valid, write_settings
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.jobs import files


class LabelCalculation(HQECalculation):
    """``hqe-job label``: quantum-core embedding labels of a batch of frames, each written as soon as it is finished."""

    JOB = "label"
    RESULTS = (files.LABELS,)

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of a label job."""
        super().define(spec)
        spec.input("level", valid_type=Dict, validator=valid(Level), help="Level of the labels.")
        spec.input("frames", valid_type=FramesData, help="Frames to label.")
        spec.output(
            "frames", valid_type=FramesData, required=False, help="The frames that were labelled, in their order."
        )
        spec.output(
            "failed", valid_type=Dict, required=False, help="Frames without a label: hash to error_kind and message."
        )
        spec.exit_code(
            500,
            "ERROR_UNFINISHED",
            invalidates_cache=True,
            message="the job ended early: {done} of {total} frames were tried",
        )
        spec.exit_code(510, "ERROR_SOME_FAILED", message="{failed} of {total} frames failed; the others are labelled")
        spec.exit_code(520, "ERROR_ALL_FAILED", message="every frame of the batch failed: {message}")

    def write(self, folder: Folder) -> None:
        """Write the level."""
        write_settings(folder, files.LEVEL, Level, self.inputs.level)

    def copies(self) -> list[tuple[str, str, str]]:
        """Frames to label."""
        return [copy(self.inputs.frames, files.FRAMES)]
