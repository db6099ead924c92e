"""`LabelWorkChain`: labels frames in batches; a frame ends labelled or quarantined with its reason, and is never dropped."""

from __future__ import annotations

from typing import Any

from aiida.engine import append_
from aiida.orm import Dict, Int
from aiida.plugins import CalculationFactory

from aiida_hqe.calculations.base import valid
from aiida_hqe.calculations.functions import gather, split
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.workchains.base import HQEWorkChain, ending, outputs


class LabelWorkChain(HQEWorkChain):
    """Label frames at a level in parallel jobs.

    Labelled and failed frames together are the frames of the input. The exit code is 0 as long as one frame was labelled.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports, outline and exit codes."""
        super().define(spec)
        spec.input("frames", valid_type=FramesData, help="Frames to label.")
        spec.input("level", valid_type=Dict, validator=valid(Level), help="Level of the labels.")
        spec.input("batches", valid_type=Int, help="Number of jobs that share the frames.")
        spec.outline(cls.split, cls.label, cls.gather)
        spec.output("frames", valid_type=FramesData, required=False, help="Labelled frames, in the order they came in.")
        spec.output(
            "failed", valid_type=Dict, required=False, help="Quarantined frames: hash to error_kind and message."
        )
        spec.exit_code(400, "ERROR_NO_LABEL", message="no frame was labelled: {reason}")

    def split(self) -> None:
        """Split the frames into batches."""
        self.ctx.batches = split(self.inputs.frames, self.inputs.batches)

    def label(self) -> None:
        """Label every batch at the same time."""
        for name, batch in sorted(self.ctx.batches.items()):
            job = self.submit(CalculationFactory("hqe.label"), self.job(name, frames=batch, level=self.inputs.level))
            self.to_context(jobs=append_(job))

    def gather(self) -> Any:
        """Gather labels and failures; a job that was killed leaves those it had finished."""
        found: dict[str, Any] = {}
        for number, job in enumerate(self.ctx.jobs):
            if not job.is_finished_ok:
                self.report(ending(job))
            found |= {f"{name}_{number:02d}": node for name, node in outputs(job, "frames", "failed").items()}
        gathered = gather(self.inputs.frames, **found)
        self.out_many(gathered)
        if "frames" not in gathered:
            reason = next(iter(gathered["failed"].get_dict().values()))["message"]
            return self.exit_codes.ERROR_NO_LABEL.format(reason=reason)
        return None
