"""`LabelWorkChain`: labels frames in batches; a frame ends labelled or quarantined with its reason, and is never dropped."""

from __future__ import annotations

from typing import Any

from aiida.engine import append_, while_
from aiida.orm import Dict, Int
from aiida.plugins import CalculationFactory

from aiida_hqe import provenance
from aiida_hqe.calculations.base import valid
from aiida_hqe.calculations.label import level_key
from aiida_hqe.calculations.labelling import Outcome, gather, outcome, retry, reuse, split
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.workchains.base import HQEWorkChain, ending, given, outputs

IDLE = 2
"""Attempts in succession that may bring nothing, neither a label nor a reason against one, before the rest is quarantined."""


class LabelWorkChain(HQEWorkChain):
    """Label frames at a level in parallel jobs.

    A frame that is labelled at this level anywhere in the profile is taken from there. Frames that a job did not come to, or
    lacked resources for, are tried again, and only those. Labelled and failed frames together are the frames of the
    input. The exit code is 0 as long as one frame was labelled.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports, outline and exit codes."""
        super().define(spec)
        spec.input("frames", valid_type=FramesData, help="Frames to label.")
        spec.input("level", valid_type=Dict, validator=valid(Level), help="Level of the labels.")
        spec.input("batches", valid_type=Int, help="The most jobs that share the frames.")
        spec.outline(cls.look_up, while_(cls.goes_on)(cls.deal, cls.label, cls.inspect), cls.gather)
        spec.output("frames", valid_type=FramesData, required=False, help="Labelled frames, in the order they came in.")
        spec.output(
            "failed", valid_type=Dict, required=False, help="Quarantined frames: hash to error_kind and message."
        )
        spec.exit_code(400, "ERROR_NO_LABEL", message="no frame was labelled: {reason}")
        spec.exit_code(
            410, "ERROR_MACHINE", message="no frame was labelled, and the machine was to blame for each: {reason}"
        )

    def look_up(self) -> None:
        """Take what the profile holds already."""
        self.ctx.jobs, self.ctx.judged, self.ctx.idle = [], 0, 0
        self.ctx.found, self.ctx.raised = {}, {}
        self.ctx.missing = self.inputs.frames
        frames = self.inputs.frames.frames
        level = level_key(Level.model_validate(self.inputs.level.get_dict()))
        earlier = provenance.labelled_before(level, frames.hashes)
        if earlier:
            taken = reuse(self.inputs.frames, **{f"earlier_{node.pk}": node for node in earlier})
            self.ctx.found["frames_reused"] = taken["frames"]
            self.ctx.missing = taken.get("missing")
            self.report(f"{taken['frames'].n_frames} of {len(frames.unique())} frames are labelled already")
        self.ctx.measured = provenance.like_batch(level, self.inputs.frames)

    def goes_on(self) -> bool:
        """Whether there are frames to try."""
        return self.ctx.missing is not None and self.ctx.idle < IDLE and bool(self._outcome().waiting)

    def deal(self) -> None:
        """Deal the frames to jobs."""
        if self.ctx.jobs:
            self.ctx.batches = retry(self.ctx.missing, self.inputs.batches, **self._results())
        else:
            self.ctx.batches = split(self.ctx.missing, self.inputs.batches, **given(measured=self.ctx.measured))

    def label(self) -> None:
        """Label every batch at the same time."""
        process = CalculationFactory("hqe.label")
        for number, (_, batch) in enumerate(sorted(self.ctx.batches.items()), start=len(self.ctx.jobs)):
            inputs = self.job(f"batch_{number:02d}", frames=batch, level=self.inputs.level)
            inputs["metadata"]["options"] |= self.ctx.raised
            self.to_context(jobs=append_(self.submit(process, inputs)))

    def inspect(self) -> None:
        """Take in what the jobs left, also those that were killed; give the next ones more of what these lacked."""
        useful, lacks = False, set()
        for number, job in enumerate(self.ctx.jobs[self.ctx.judged :], start=self.ctx.judged):
            found = outputs(job, "frames", "failed", "unfinished")
            self.ctx.found |= {f"{name}_{number:04d}": node for name, node in found.items()}
            lacks |= lacking(found)
            useful |= bool({"frames", "failed"} & set(found)) or suspect(found)
            if not job.is_finished_ok:
                self.report(ending(job))
        self.ctx.judged = len(self.ctx.jobs)
        self.ctx.idle = 0 if useful else self.ctx.idle + 1
        self.ctx.raised = self.raised(lacks, self.ctx.raised)

    def gather(self) -> Any:
        """Gather labels and failures."""
        gathered = gather(self.inputs.frames, **self._results())
        self.out_many(gathered)
        if "frames" in gathered:
            return None
        reasons = list(gathered["failed"].get_dict().values())
        lacking = all(reason["error_kind"] == "resource" for reason in reasons)
        code = self.exit_codes.ERROR_MACHINE if lacking else self.exit_codes.ERROR_NO_LABEL
        return code.format(reason=reasons[0]["message"])

    def _results(self) -> dict[str, Any]:
        return dict(self.ctx.found)

    def _outcome(self) -> Outcome:
        return outcome(self.ctx.missing.frames.hashes, self._results())


def lacking(found: dict[str, Any]) -> set[str]:
    """What a job lacked, of its outputs `found`: what ended it before its own end, or kept a frame from its label.

    A job that ended by itself because its time was nearly over lacked nothing: the next one goes on from there.
    """
    lacks = {reason["error_kind"] for reason in found["failed"].get_dict().values()} if "failed" in found else set()
    if "unfinished" in found and found["unfinished"]["lacked"] is not None:
        lacks.add(found["unfinished"]["lacked"])
    return lacks


def suspect(found: dict[str, Any]) -> bool:
    """Whether a job that ended early was working on a frame, which may be why."""
    return "unfinished" in found and found["unfinished"]["suspect"] is not None
