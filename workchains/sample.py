"""`SampleWorkChain`: fresh frames from molecular dynamics, the system prepared first where it is not yet."""

from __future__ import annotations

from typing import Any

from aiida.engine import if_, while_
from aiida.orm import Dict, FolderData, RemoteData, SinglefileData
from aiida.plugins import CalculationFactory

from aiida_hqe.calculations.base import valid
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files
from aiida_hqe.workchains.base import HQEWorkChain, ending, outputs

OUT_OF_TIME = frozenset({120, 411})
"""Exit codes of a job whose wall time ran out."""


class SampleWorkChain(HQEWorkChain):
    """Sample frames with the force field, or with a committee that is watched for its disagreement.

    A sample that ended early because the committee left its trust region is a result (``status`` says so), as long as it
    holds a frame.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports, outline and exit codes."""
        super().define(spec)
        spec.input(
            "settings",
            valid_type=Dict,
            validator=valid(files.SampleJob),
            help="Ensemble, steps, interval, seed, trust.",
        )
        spec.input("assembly", valid_type=SinglefileData, required=False, help="Assembly to start from.")
        spec.input(
            "prepare", valid_type=Dict, required=False, validator=valid(files.PrepareJob), help="How to make one."
        )
        spec.input("files", valid_type=FolderData, required=False, help="Files to make one from.")
        spec.input("committee", valid_type=CommitteeData, required=False, help="Committee that drives the QM region.")
        spec.inputs.validator = _starts_somewhere
        spec.outline(
            if_(cls.has_no_assembly)(while_(cls.tries_preparation)(cls.prepare), cls.prepared),
            while_(cls.tries_sampling)(cls.sample),
            cls.inspect,
        )
        spec.output("frames", valid_type=FramesData, required=False, help="Frames sampled.")
        spec.output("assembly", valid_type=SinglefileData, required=False, help="End state, to go on from.")
        spec.output(
            "start", valid_type=SinglefileData, required=False, help="The assembly that was prepared, if one was."
        )
        spec.output("status", valid_type=Dict, required=False, help="How the sampling ended.")
        spec.exit_code(400, "ERROR_PREPARATION", message="the system was not prepared: {reason}")
        spec.exit_code(401, "ERROR_SAMPLING", message="nothing was sampled: {reason}")
        spec.exit_code(
            410, "ERROR_UNTRUSTED_AT_ONCE", message="the committee cannot be trusted from the first step on: {reason}"
        )

    def has_no_assembly(self) -> bool:
        """Whether the system must be prepared."""
        return "assembly" not in self.inputs

    def tries_preparation(self) -> bool:
        """Whether the preparation is to be submitted."""
        return self.tries("preparation")

    def prepare(self) -> None:
        """Build and equilibrate the system."""
        inputs = {"settings": self.inputs.prepare, "files": self.inputs.files}
        self.attempt("preparation", CalculationFactory("hqe.prepare"), "prepare", **inputs)

    def prepared(self) -> Any:
        """Start from what was prepared."""
        preparation = self.ctx.preparation[-1]
        if not preparation.is_finished_ok:
            return self.exit_codes.ERROR_PREPARATION.format(reason=ending(preparation))
        self.ctx.start = preparation.outputs.assembly
        self.out("start", self.ctx.start)
        return None

    def tries_sampling(self) -> bool:
        """Whether the dynamics is to be submitted."""
        return self.tries("sampling")

    def sample(self) -> None:
        """Run the dynamics."""
        start = self.ctx.start if self.has_no_assembly() else self.inputs.assembly
        inputs = {"settings": self.inputs.settings, "assembly": start, "committee": self.inputs.get("committee")}
        inputs["restart"] = resumable(self.ctx.get("sampling") or [])
        self.attempt("sampling", CalculationFactory("hqe.sample"), "sample", **inputs)

    def inspect(self) -> Any:
        """Keep what was sampled, also where the dynamics ended early."""
        job = self.ctx.sampling[-1]
        self.out_many(outputs(job, "frames", "assembly", "status"))
        if "frames" not in job.outputs:
            return self.exit_codes.ERROR_SAMPLING.format(reason=ending(job))
        if not job.outputs.frames.n_frames:
            return self.exit_codes.ERROR_UNTRUSTED_AT_ONCE.format(reason=ending(job))
        return None


def resumable(attempts: list[Any]) -> RemoteData | None:
    """Folder of the last attempt, whose checkpoint the next goes on from: the first time, and whenever it was short of time."""
    if not attempts or (len(attempts) > 1 and attempts[-1].exit_status not in OUT_OF_TIME):
        return None
    return outputs(attempts[-1], "remote_folder").get("remote_folder")


def _starts_somewhere(inputs: Any, _namespace: Any) -> str | None:
    prepares = "prepare" in inputs and "files" in inputs
    if "assembly" not in inputs and not prepares:
        return "an assembly, or prepare and files to make one, were expected: give either"
    return None
