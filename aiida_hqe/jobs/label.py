"""The job ``label``: every frame of a batch at one level, each written as soon as it is finished."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from aiida_hqe.baseline.baseline import require
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.deadline import Deadline
from aiida_hqe.jobs.main import report_progress
from aiida_hqe.labels import Label


def run(directory: Path) -> files.Status:
    """Label the frames of ``frames.h5`` at the level of ``level.json``, appending to ``labels.jsonl``.

    A frame that fails costs that frame only. Frames that ``labels.jsonl`` already holds are not computed again, so that a
    killed job goes on where it was; a line that the kill cut short is dropped. Where the time that is left is too short for
    another label, the job ends by itself.

    Returns
    -------
    Status
        ``finished``, or ``partial`` where frames failed or time ran out; counts `frames`, `labelled`, `failed` and `reused`.

    Raises
    ------
    InputError
        Frames or level are missing or wrong, or the level leaves the number of core orbitals open.
    IntegrityError
        A line of ``labels.jsonl`` other than the last is damaged.
    ResourceError
        The baseline of the level needs a package that is not installed.
    """
    level = files.read_settings(directory, files.LEVEL, Level)
    require(level.baseline)
    frames = Frames.read(directory / files.FRAMES).unique()
    if level.embedding.core_orbitals is None and any(frame.n_cores for frame in frames):
        raise InputError(
            f"{files.LEVEL}: embedding.core_orbitals: a number for each core was expected (got none): a job sees a part of the"
            " frames, so that its choice could differ from another's; `aiida-hqe cores` proposes numbers",
            "embedding.core_orbitals",
        )
    path = directory / files.LABELS
    done = {found.frame: found for found in keep_complete(path)}
    reused = sum(frame.hash in done for frame in frames)
    report_progress(directory, reused, len(frames))
    deadline = Deadline()
    with path.open("a") as stream:
        for frame in frames:
            if frame.hash in done:
                continue
            if not deadline.allows_another():
                break
            done[frame.hash] = found = label(frame, level)
            stream.write(found.model_dump_json() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            deadline.step()
            report_progress(directory, sum(frame.hash in done for frame in frames), len(frames))
    return ending(frames, [done[frame.hash] for frame in frames if frame.hash in done], reused)


def ending(frames: Frames, tried: list[Label], reused: int) -> files.Status:
    """How a job ended that tried some of its frames."""
    lost = [found for found in tried if found.status == "failed"]
    counts = {"frames": len(frames), "labelled": len(tried) - len(lost), "failed": len(lost), "reused": reused}
    if len(tried) < len(frames):
        message = f"{len(tried)} of {len(frames)} frames were tried: the time of the job is too short for another"
        return files.Status(state="partial", error_kind="resource", message=message, counts=counts)
    if not lost:
        return files.Status(state="finished", counts=counts)
    message = f"{len(lost)} of {len(frames)} frames failed, first {lost[0].message}"
    return files.Status(state="partial", error_kind=lost[0].error_kind, message=message, counts=counts)


def keep_complete(path: Path) -> list[Label]:
    """Labels of ``labels.jsonl``; a last line without its end is removed from the file."""
    if not path.is_file():
        return []
    complete, newline, cut = path.read_bytes().rpartition(b"\n")
    labels = [_parse(path, number, line) for number, line in enumerate(complete.splitlines(), start=1)]
    if cut:
        os.truncate(path, len(complete) + len(newline))
    return labels


def _parse(path: Path, number: int, line: bytes) -> Label:
    try:
        return Label.model_validate_json(line)
    except ValidationError as error:
        raise IntegrityError(
            f"{path.name}:{number}: a label was expected (got {line[:40]!r}): remove the damaged line"
        ) from error
