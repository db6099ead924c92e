"""`TrainWorkChain`: trains a committee in parallel jobs, and calibrates it on labels it never saw."""

from __future__ import annotations

from typing import Any

from aiida.engine import if_, while_
from aiida.orm import Dict, Int, SinglefileData
from aiida.plugins import CalculationFactory

from aiida_hqe.calculations.base import valid
from aiida_hqe.calculations.functions import assemble, calibrate, share
from aiida_hqe.calculations.settings import SelectionStep
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.jobs import files
from aiida_hqe.workchains.base import HQEWorkChain, ending


class TrainWorkChain(HQEWorkChain):
    """Train the members of a committee, from scratch or on from an earlier one; with held-out labels, calibrate it."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports, outline and exit codes."""
        super().define(spec)
        spec.input("frames", valid_type=FramesData, help="Labelled frames to learn from.")
        spec.input(
            "settings", valid_type=Dict, validator=valid(files.TrainJob), help="Architecture, objective, members, seed."
        )
        spec.input("batches", valid_type=Int, help="Number of jobs that share the members.")
        spec.input("committee", valid_type=CommitteeData, required=False, help="Committee to go on from.")
        spec.input("held_out", valid_type=FramesData, required=False, help="Labels to calibrate on; never trained on.")
        spec.input(
            "selection",
            valid_type=Dict,
            required=False,
            validator=valid(SelectionStep),
            help="Confidence of the calibration.",
        )
        spec.inputs.validator = _calibrates_completely
        spec.outline(
            cls.share,
            while_(cls.tries_training)(cls.train),
            cls.assemble,
            if_(cls.has_held_out)(while_(cls.tries_prediction)(cls.predict), cls.calibrate),
        )
        spec.output("committee", valid_type=CommitteeData, help="The committee.")
        spec.output(
            "predictions", valid_type=SinglefileData, required=False, help="Its predictions of the held-out labels."
        )
        spec.output("calibration", valid_type=Dict, required=False, help="What its disagreement says about its error.")
        spec.output_namespace("history", valid_type=Dict, dynamic=True, help="Losses and errors, by job.")
        spec.exit_code(400, "ERROR_TRAINING", message="a member was not trained: {reason}")
        spec.exit_code(401, "ERROR_PREDICTION", message="the held-out labels were not predicted: {reason}")
        spec.exit_code(402, "ERROR_CALIBRATION", message="the committee cannot be calibrated: {reason}")

    def share(self) -> None:
        """Share the members among the jobs."""
        self.ctx.shares = share(self.inputs.settings, self.inputs.batches)

    def tries_training(self) -> bool:
        """Whether a job is to be submitted."""
        return any(self.tries(name) for name in self.ctx.shares)

    def train(self) -> None:
        """Train the members at the same time."""
        for name, settings in sorted(self.ctx.shares.items()):
            if self.tries(name):
                inputs = {"frames": self.inputs.frames, "settings": settings, "committee": self.inputs.get("committee")}
                self.attempt(name, CalculationFactory("hqe.train"), name, **inputs)

    def assemble(self) -> Any:
        """Put the members together."""
        jobs = {name: self.ctx[name][-1] for name in sorted(self.ctx.shares)}
        for name, job in jobs.items():
            if not job.is_finished_ok:
                return self.exit_codes.ERROR_TRAINING.format(reason=ending(job))
            self.out(f"history.{name}", job.outputs.history)
        parts = {f"part_{number:02d}": job.outputs.committee for number, job in enumerate(jobs.values())}
        self.ctx.committee = assemble(**parts)
        self.out("committee", self.ctx.committee)
        return None

    def has_held_out(self) -> bool:
        """Whether there is something to calibrate on."""
        return "held_out" in self.inputs

    def tries_prediction(self) -> bool:
        """Whether the prediction is to be submitted."""
        return self.tries("prediction")

    def predict(self) -> None:
        """Predict the held-out labels."""
        inputs = {"committee": self.ctx.committee, "frames": self.inputs.held_out}
        self.attempt("prediction", CalculationFactory("hqe.predict"), "held_out", **inputs)

    def calibrate(self) -> Any:
        """Calibrate disagreement against the true errors."""
        job = self.ctx.prediction[-1]
        if not job.is_finished_ok:
            return self.exit_codes.ERROR_PREDICTION.format(reason=ending(job))
        self.out("predictions", job.outputs.predictions)
        calibration, node = calibrate.run_get_node(self.inputs.held_out, job.outputs.predictions, self.inputs.selection)
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_CALIBRATION.format(reason=node.exit_message)
        self.out("calibration", calibration)
        return None


def _calibrates_completely(inputs: Any, _namespace: Any) -> str | None:
    if ("held_out" in inputs) != ("selection" in inputs):
        return "held_out and selection belong together: give both to calibrate, or neither"
    return None
