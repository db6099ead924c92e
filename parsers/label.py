"""`LabelParser`: ``labels.jsonl`` to labelled frames, failed ones, and those that the job did not come to."""

from __future__ import annotations

from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_hqe.calculations.label import level_key
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.labels import Label
from aiida_hqe.parsers.base import HQEParser

_SCHEDULER = {110: "memory", 120: "walltime", 140: "node failure"}
"""AiiDA's exit codes for what a scheduler says about the end of a job."""

_UNFINISHED = {"walltime": "ERROR_OUT_OF_WALLTIME", "memory": "ERROR_OUT_OF_MEMORY"}


class LabelParser(HQEParser):
    """What is finished is kept, however the job ended."""

    CACHE_VERSION = 2

    def killed(self) -> ExitCode:
        """A killed job keeps the frames it finished."""
        return self.finished_frames(None) or super().killed()

    def failed(self, status: files.Status) -> ExitCode:
        """A job that failed as a whole keeps them too."""
        self.finished_frames(status)
        return super().failed(status)

    def finished_frames(self, status: files.Status | None) -> ExitCode | None:
        """Put out what is finished, if there is anything."""
        if files.LABELS not in self.retrieved.base.repository.list_object_names():
            return None
        return self.guarded(status or files.Status(state="failed"))

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``frames``, ``failed`` and ``unfinished``."""
        labels = self.labels()
        frames = self.node.inputs.frames.frames.unique()
        labelled = Frames(labels[f.hash].apply(f) for f in frames if f.hash in labels and labels[f.hash].status == "ok")
        failed = [labels[f.hash] for f in frames if f.hash in labels and labels[f.hash].status == "failed"]
        missing = [key for key in frames.hashes if key not in labels]
        if labelled:
            self.out("frames", self.batch(labelled))
        if failed:
            self.out("failed", Dict({f.frame: {"error_kind": f.error_kind, "message": f.message} for f in failed}))
        if missing:
            return self.unfinished(status, missing, len(frames))
        return self.judged(failed, len(frames))

    def batch(self, labelled: Frames) -> FramesData:
        """Node of labelled frames, which says at what level and at what cost (s), for queries."""
        node = FramesData.from_frames(labelled)
        if "level" in self.node.inputs:
            node.base.attributes.set("level", level_key(Level.model_validate(self.node.inputs.level.get_dict())))
        node.base.attributes.set("label_seconds", sum(float(frame.info["seconds"]) for frame in labelled))
        return node

    def unfinished(self, status: files.Status, missing: list[str], total: int) -> ExitCode:
        """Put out the frames without a result: why the job ended, and which of them it was working on then."""
        cause, message = self.cause(status)
        entries: dict[str, Any] = {"frames": missing, "cause": cause, "message": message}
        entries["suspect"] = missing[0] if status.state == "failed" else None
        self.out("unfinished", Dict(entries))
        return self.exit(_UNFINISHED.get(cause, "ERROR_UNFINISHED"), done=total - len(missing), total=total)

    def cause(self, status: files.Status) -> tuple[str, str]:
        """Why a job ended early, as a word and a sentence: what it said itself, or what the scheduler said."""
        if status.state != "failed":
            return "walltime", status.message or "the time of the job ran out"
        if status.error_kind is not None:
            return status.error_kind, status.message or "the job failed as a whole"
        cause = _SCHEDULER.get(self.node.exit_status or 0, "killed")
        sentence = (
            "its label job was killed" if cause == "killed" else f"its label job was ended by the scheduler: {cause}"
        )
        return cause, sentence

    def judged(self, failed: list[Label], total: int) -> ExitCode | None:
        """Exit code of a batch all of whose frames were tried."""
        if not failed:
            return None
        lacking = [found for found in failed if found.error_kind == "resource"]
        if lacking:
            values = {"failed": len(failed), "total": total, "message": lacking[0].message}
            return self.exit("ERROR_SOME_LACKED_RESOURCES", **values)
        if len(failed) == total:
            return self.exit("ERROR_ALL_FAILED", message=failed[0].message)
        return self.exit("ERROR_SOME_FAILED", failed=len(failed), total=total)

    def labels(self) -> dict[str, Label]:
        """Labels by hash of their frame; a last line that a kill cut short is left out."""
        with self.path(files.LABELS) as path:
            complete = path.read_bytes().rpartition(b"\n")[0]
        found = [Label.model_validate_json(line) for line in complete.splitlines()]
        return {label.frame: label for label in found}
