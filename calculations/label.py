"""`LabelCalculation`: labels a batch of frames at one level."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiida.common.folders import Folder
from aiida.orm import Dict, SinglefileData

from aiida_hqe.calculations.base import HQECalculation, valid, write_frames, write_settings
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.jobs import files


class LabelCalculation(HQECalculation):
    """``hqe-job label``: quantum-core embedding labels of a batch of frames, each written as soon as it is finished."""

    CACHE_VERSION = 2  # the environment's second-order solver ends at minima, not at saddle points
    JOB = "label"
    RESULTS = ()
    READ = (files.LABELS,)

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
            "details",
            valid_type=SinglefileData,
            required=False,
            help="Of each label, one a line in JSON, what its frame does not hold: energies of each core, SCF rung, cost.",
        )
        spec.output(
            "failed", valid_type=Dict, required=False, help="Frames without a label: hash to error_kind and message."
        )
        spec.output(
            "unfinished",
            valid_type=Dict,
            required=False,
            help="Frames that the job did not come to: their hashes, the one it was working on, and why it ended.",
        )
        tried = "{done} of {total} frames were tried"
        spec.exit_code(500, "ERROR_UNFINISHED", invalidates_cache=True, message=f"the job ended early: {tried}")
        spec.exit_code(501, "ERROR_OUT_OF_WALLTIME", invalidates_cache=True, message=f"the time ran out: {tried}")
        spec.exit_code(502, "ERROR_OUT_OF_MEMORY", invalidates_cache=True, message=f"the memory ran out: {tried}")
        spec.exit_code(510, "ERROR_SOME_FAILED", message="{failed} of {total} frames failed; the others are labelled")
        spec.exit_code(520, "ERROR_ALL_FAILED", message="every frame of the batch failed: {message}")
        spec.exit_code(
            530,
            "ERROR_SOME_LACKED_RESOURCES",
            invalidates_cache=True,
            message="{failed} of {total} frames failed, and the machine was to blame: {message}",
        )

    def write(self, folder: Folder) -> None:
        """Write the frames to label, and the level."""
        write_frames(folder, self.inputs.frames)
        write_settings(folder, files.LEVEL, Level, self.inputs.level)

    def copies(self) -> list[tuple[str, str, str]]:
        """Nothing: a label needs no more than frames and level."""
        return []


def level_key(level: Level) -> str:
    """Identity of a label, next to the hash of its frame: equal keys mean equal numbers (docs/caching.md).

    It stands in the attribute ``level`` of every batch that a label job made, and holds `LabelCalculation.CACHE_VERSION`.
    """
    text = json.dumps(level.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"hqe-label {LabelCalculation.CACHE_VERSION} {text}".encode()).hexdigest()
