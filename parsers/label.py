"""`LabelParser`: ``labels.jsonl`` to labelled frames and quarantined ones."""

from __future__ import annotations

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.labels import Label
from aiida_hqe.parsers.base import HQEParser


class LabelParser(HQEParser):
    """What is finished is kept, however the job ended."""

    def killed(self) -> ExitCode:
        """A killed job keeps the frames it finished."""
        return self.finished_frames() or super().killed()

    def failed(self, status: files.Status) -> ExitCode:
        """A job that failed as a whole keeps them too."""
        self.finished_frames()
        return super().failed(status)

    def finished_frames(self) -> ExitCode | None:
        """Put out what is finished, if there is anything."""
        if files.LABELS not in self.retrieved.base.repository.list_object_names():
            return None
        return self.guarded(files.Status(state="failed"))

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``frames`` and ``failed``."""
        labels = self.labels()
        frames = self.node.inputs.frames.frames.unique()
        labelled = Frames(labels[f.hash].apply(f) for f in frames if f.hash in labels and labels[f.hash].status == "ok")
        failed = {f.hash: labels[f.hash] for f in frames if f.hash in labels and labels[f.hash].status == "failed"}
        if labelled:
            self.out("frames", FramesData.from_frames(labelled))
        if failed:
            self.out(
                "failed", Dict({key: {"error_kind": f.error_kind, "message": f.message} for key, f in failed.items()})
            )
        done = len(labelled) + len(failed)
        if done < len(frames):
            return self.exit("ERROR_UNFINISHED", done=done, total=len(frames))
        if failed and not labelled:
            return self.exit("ERROR_ALL_FAILED", message=next(iter(failed.values())).message)
        if failed:
            return self.exit("ERROR_SOME_FAILED", failed=len(failed), total=len(frames))
        return None

    def labels(self) -> dict[str, Label]:
        """Labels by hash of their frame; a last line that a kill cut short is left out."""
        with self.path(files.LABELS) as path:
            complete = path.read_bytes().rpartition(b"\n")[0]
        found = [Label.model_validate_json(line) for line in complete.splitlines()]
        return {label.frame: label for label in found}
