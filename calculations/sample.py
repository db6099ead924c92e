"""`SampleCalculation`: molecular dynamics that proposes frames."""

from __future__ import annotations

from typing import Any

from aiida.common.folders import Folder
from aiida.orm import Dict, RemoteData, SinglefileData

from aiida_hqe.calculations.base import HQECalculation, copy, valid, write_settings
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files


class SampleCalculation(HQECalculation):
    """``hqe-job sample``: dynamics driven by the force field, or by a committee in the QM region.

    A run that goes on from a checkpoint makes the same frames, bit by bit, as one that was not interrupted.
    """

    JOB = "sample"
    RESULTS = (files.SAMPLED, files.FINAL)

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of a sample job."""
        super().define(spec)
        spec.input(
            "settings",
            valid_type=Dict,
            validator=valid(files.SampleJob),
            help="Ensemble, steps, interval, seed, trust.",
        )
        spec.input("assembly", valid_type=SinglefileData, help="Assembly to start from.")
        spec.input("committee", valid_type=CommitteeData, required=False, help="Committee that drives the QM region.")
        spec.input(
            "restart",
            valid_type=RemoteData,
            required=False,
            help="Folder of a run that was killed, to go on from its checkpoint.",
        )
        spec.output(
            "frames", valid_type=FramesData, required=False, help="Frames sampled, with disagreement and origin."
        )
        spec.output("assembly", valid_type=SinglefileData, required=False, help="End state.")
        spec.exit_code(500, "ERROR_UNTRUSTED", message="the committee left its trust region: {message}")

    def write(self, folder: Folder) -> None:
        """Write the settings."""
        write_settings(folder, files.SETTINGS, files.SampleJob, self.inputs.settings)

    def copies(self) -> list[tuple[str, str, str]]:
        """Assembly, and the committee that drives."""
        copies = [copy(self.inputs.assembly, files.ASSEMBLY)]
        if "committee" in self.inputs:
            copies.append(copy(self.inputs.committee, files.COMMITTEE))
        return copies

    def remote_copies(self) -> list[tuple[str, str, str]]:
        """The checkpoint of the run to go on from; where it left none, AiiDA copies nothing and the run starts anew."""
        if "restart" not in self.inputs:
            return []
        folder = self.inputs.restart
        return [(folder.computer.uuid, f"{folder.get_remote_path()}/{files.CHECKPOINT}", files.CHECKPOINT)]
