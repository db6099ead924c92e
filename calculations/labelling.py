"""Calcfunctions of the labelling: what is known already, how frames are dealt to jobs, what to try again, what is quarantined."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Data, Dict, Int

from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames

OVERHEAD = 3.0
"""Seconds that a label job costs besides its labels: AiiDA's own work, the start of Python, the import of PySCF."""

WORTH = 5.0
"""A job must have this many times `OVERHEAD` of work: with fewer frames than that, fewer jobs share them."""

STRIKES = 2
"""A frame that this many jobs ended on, or lacked resources for, is not tried again."""

RETRIED = frozenset({"walltime", "memory", "node failure", "killed", "resource"})
"""Why a job may end early and yet be worth another try; `aiida_hqe.parsers.label` names the causes."""

LOST: dict[str, Any] = {"error_kind": "resource", "message": "its label job ended without a result for it"}
"""Reason of a frame that no job reports about."""

_LABEL = [name for name in (*ENERGIES, *FORCES, *MM_FORCES) if not name.startswith("baseline")]
_COST = ("seconds", "core_seconds")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the label jobs have brought so far.

    Attributes
    ----------
    labelled
        Labelled frames by their hash.
    failed
        Why a frame has no label, by its hash, for those that are not tried again.
    waiting
        Frames to try (again), those that ended a job before last, so that they keep no other from being labelled.
    """

    labelled: dict[str, Frame]
    failed: dict[str, dict[str, Any]]
    waiting: list[str]


def outcome(hashes: Iterable[str], results: Mapping[str, Data]) -> Outcome:
    """What jobs have brought for the frames with `hashes`.

    Parameters
    ----------
    hashes
        Frames that were to be labelled.
    results
        Outputs of the jobs, the oldest first, by names that begin with the label of the output: ``frames``, ``failed`` or
        ``unfinished``.
    """
    labelled: dict[str, Frame] = {}
    reasons: dict[str, dict[str, Any]] = {}
    strikes: Counter[str] = Counter()
    final: set[str] = set()
    for name in sorted(results, key=lambda name: name.partition("_")[2]):
        node = results[name]
        if isinstance(node, FramesData):
            labelled |= {frame.hash: frame for frame in node.frames}
        elif name.startswith("failed"):
            reasons |= node.get_dict()
            lacking = {key for key, reason in node.get_dict().items() if reason["error_kind"] == "resource"}
            strikes.update(lacking)
            final |= set(node.get_dict()) - lacking
        else:
            _unfinished(node.get_dict(), reasons, strikes, final)
    missing = [key for key in dict.fromkeys(hashes) if key not in labelled]
    waiting = [key for key in missing if key not in final and strikes[key] < STRIKES]
    failed = {key: reasons.get(key, LOST) for key in missing if key not in waiting}
    return Outcome(labelled, failed, sorted(waiting, key=lambda key: strikes[key]))


def _unfinished(
    entries: dict[str, Any], reasons: dict[str, dict[str, Any]], strikes: Counter[str], final: set[str]
) -> None:
    """Take in the frames that one job did not come to."""
    retried = entries["cause"] in RETRIED
    reason = {"error_kind": "resource" if retried else entries["cause"], "message": entries["message"]}
    reasons |= dict.fromkeys(entries["frames"], reason)
    if not retried:
        final |= set(entries["frames"])
    elif entries["suspect"] is not None:
        strikes[entries["suspect"]] += 1


@calcfunction
def reuse(frames: FramesData, **earlier: FramesData) -> dict[str, FramesData]:
    """Take labels from batches that were labelled before, at the same level.

    Returns
    -------
    dict
        ``frames``: those whose configuration `earlier` holds, with its label and cost, and their own info; ``missing``:
        the others. Each only if it has a frame.
    """
    known = {frame.hash: frame for name in sorted(earlier, reverse=True) for frame in earlier[name].frames}
    wanted = frames.frames.unique()
    parts = {
        "frames": Frames(_with_label(frame, known[frame.hash]) for frame in wanted if frame.hash in known),
        "missing": Frames(frame for frame in wanted if frame.hash not in known),
    }
    return {name: FramesData.from_frames(part) for name, part in parts.items() if part}


def _with_label(frame: Frame, labelled: Frame) -> Frame:
    """`frame` with the label of another one of the same configuration."""
    cost = {key: labelled.info[key] for key in _COST if key in labelled.info}
    return frame.replace(**{name: getattr(labelled, name) for name in _LABEL}, info={**frame.info, **cost})


@calcfunction
def split(frames: FramesData, batches: Int, measured: FramesData | None = None) -> dict[str, FramesData]:
    """Deal frames to label jobs by turns, so that each has frames from everywhere: ``batch_00``, ...

    Parameters
    ----------
    frames
        Frames to label.
    batches
        The most jobs; they run at the same time.
    measured
        Labels of the same level and size. What one of them cost says how many frames make a job worth its overhead.
    """
    unique = frames.frames.unique()
    return _batches(list(unique), job_count(len(unique), batches.value, seconds_per_label(measured)))


def job_count(n_frames: int, at_most: int, seconds: float | None) -> int:
    """Jobs that share `n_frames` frames of so many seconds each: as many as may run, unless that leaves them too little."""
    useful = at_most if seconds is None else int(n_frames * seconds / (WORTH * OVERHEAD))
    return max(1, min(at_most, useful, n_frames))


def seconds_per_label(measured: FramesData | None) -> float | None:
    """Mean cost (s) of the labels in a batch; ``None`` where it is not known."""
    if measured is None or not measured.n_frames:
        return None
    total = measured.base.attributes.get("label_seconds", None)
    return None if total is None else float(total) / measured.n_frames


@calcfunction
def retry(frames: FramesData, batches: Int, **results: FramesData | Dict) -> dict[str, FramesData]:
    """Deal the frames that jobs did not come to, or lacked resources for, to new jobs: ``batch_00``, ...

    Frames that ended a job before come last in theirs. Finished frames, and those that failed for good, are left out.
    """
    by_hash = {frame.hash: frame for frame in frames.frames}
    waiting = [by_hash[key] for key in outcome(by_hash, results).waiting]
    return _batches(waiting, max(1, min(batches.value, len(waiting)))) if waiting else {}


@calcfunction
def gather(flagged: FramesData, **results: FramesData | Dict) -> dict[str, FramesData | Dict]:
    """Gather what label jobs brought for the flagged frames, in their order.

    Parameters
    ----------
    flagged
        Frames that were sent to be labelled.
    results
        Labelled batches (``frames_...``), failed frames (``failed_...``: hash to error_kind and message), and frames that
        jobs did not come to (``unfinished_...``).

    Returns
    -------
    dict
        ``frames`` (labelled, if any) and ``failed`` (if any). A frame that no job reports about is quarantined as well:
        labelled + failed = flagged.
    """
    hashes = flagged.frames.unique().hashes
    found = outcome(hashes, results)
    outputs: dict[str, FramesData | Dict] = {}
    if found.labelled:
        labelled = Frames(found.labelled[key] for key in hashes if key in found.labelled)
        outputs["frames"] = FramesData.from_frames(labelled)
    quarantined = found.failed | dict.fromkeys(found.waiting, LOST)
    if quarantined:
        outputs["failed"] = Dict({key: quarantined[key] for key in hashes if key in quarantined})
    return outputs


def _batches(frames: list[Frame], hands: int) -> dict[str, FramesData]:
    return {f"batch_{hand:02d}": FramesData.from_frames(Frames(frames[hand::hands])) for hand in range(hands)}
