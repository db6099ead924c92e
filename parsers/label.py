"""`LabelParser`: ``labels.jsonl`` to labelled frames, failed ones, and those that the job did not come to."""

from __future__ import annotations

import io
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Dict, SinglefileData
from pydantic import ValidationError

from aiida_hqe.calculations.label import level_key
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import HQEError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.jobs import files
from aiida_hqe.labels import VECTORS, Label
from aiida_hqe.parsers.base import HQEParser

_UNFINISHED = {"walltime": "ERROR_OUT_OF_WALLTIME", "memory": "ERROR_OUT_OF_MEMORY"}


class LabelParser(HQEParser):
    """What is finished is kept, however the job ended."""

    CACHE_VERSION = 3

    def killed(self) -> ExitCode:
        """A killed job keeps the frames it finished."""
        return self.finished_frames(files.Status(state="failed")) or super().killed()

    def failed(self, status: files.Status) -> ExitCode:
        """A job that failed as a whole keeps them too."""
        early = self.finished_frames(status)
        return early if early is not None and status.cause in _UNFINISHED else super().failed(status)

    def finished_frames(self, status: files.Status) -> ExitCode | None:
        """Put out what is finished, and what is not where the job began or says why it did not."""
        began = self.left(files.LABELS)
        return self.guarded(status) if began or self.cause(status)[0] in _UNFINISHED else None

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``frames``, ``failed`` and ``unfinished``."""
        frames = self.node.inputs.frames.frames.unique()
        labels = self.labels(frames, began=status.state != "failed")
        labelled = [(label, frame) for label, frame in labels.values() if frame is not None]
        failed = [label for label, frame in labels.values() if frame is None]
        missing = [key for key in frames.hashes if key not in labels]
        if labelled:
            self.out("frames", self.batch(Frames(frame for _, frame in labelled)))
            self.out("details", details([label for label, _ in labelled]))
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
        """Put out the frames without a result, why the job ended, which of them it was working on, and what it lacked."""
        cause, message = self.cause(status)
        if cause == "damaged":
            message = f"{len(missing)} of {total} labels of its job were damaged"
        killed = status.state == "failed"
        entries: dict[str, Any] = {"frames": missing, "cause": cause, "message": message}
        entries["suspect"] = missing[0] if killed and self.blames_frame(cause) else None
        entries["lacked"] = cause if killed and cause in _UNFINISHED else None
        self.out("unfinished", Dict(entries))
        if cause == "damaged":
            return self.exit("ERROR_UNREADABLE", name=files.LABELS, message=message)
        return self.exit(_UNFINISHED.get(cause, "ERROR_UNFINISHED"), done=total - len(missing), total=total)

    def blames_frame(self, cause: str) -> bool:
        """Whether the frame that the job was working on may be why it ended: not before the first, nor on a full disk."""
        return cause != "disk" and self.left(files.LABELS)

    def cause(self, status: files.Status) -> tuple[str, str]:
        """Why a job ended early, as a word and a sentence: what it said itself, or what the scheduler said."""
        if status.state == "finished":
            return "damaged", "its label was damaged"
        if status.state != "failed":
            return "walltime", status.message or "the time of the job ran out"
        if status.error_kind is not None:
            return status.cause or status.error_kind, status.message or "the job failed as a whole"
        ended = self.ended_by()
        sentence = f"its label job was ended by the scheduler: {ended}" if ended else "its label job was killed"
        return ended or "killed", sentence

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

    def labels(self, frames: Frames, *, began: bool) -> dict[str, tuple[Label, Frame | None]]:
        """By hash, in the order of `frames`: the label, and the labelled frame, ``None`` where it failed.

        Lines that are no label are left out. A job that `began` has left its file.
        """
        found: dict[str, tuple[Label, Frame | None]] = {}
        by_hash = {label.frame: label for label in map(_label, self.lines(began=began)) if label is not None}
        for frame in frames:
            label = by_hash.get(frame.hash)
            if label is not None:
                labelled = None if label.status == "failed" else _apply(label, frame)
                if labelled is not None or label.status == "failed":
                    found[frame.hash] = label, labelled
        return found

    def lines(self, *, began: bool) -> list[bytes]:
        """Complete lines of ``labels.jsonl``."""
        if not began and not self.left(files.LABELS):
            return []
        with self.path(files.LABELS) as path:
            return path.read_bytes().rpartition(b"\n")[0].splitlines()


def details(labels: list[Label]) -> SinglefileData:
    """Node of what labels say that their frames do not hold: no vector, which are nearly all of their bytes."""
    lines = [label.model_dump_json(exclude=set(VECTORS), exclude_none=True) + "\n" for label in labels]
    return SinglefileData(io.BytesIO("".join(lines).encode()), filename=files.DETAILS)


def _label(line: bytes) -> Label | None:
    """The label of a line; ``None`` where it is damaged."""
    try:
        return Label.model_validate_json(line)
    except ValidationError:
        return None


def _apply(label: Label, frame: Frame) -> Frame | None:
    """The labelled frame; ``None`` where the label lacks a number or does not fit."""
    try:
        return label.apply(frame)
    except HQEError:
        return None
