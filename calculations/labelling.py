"""Calcfunctions of the labelling: what is known already, how frames are dealt to jobs, what to try again, what is quarantined."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Data, Dict, Int

from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames

OVERHEAD = 3.0
"""Seconds that a label job costs besides its labels: AiiDA's own work, the start of Python, the import of PySCF."""

IN_TURN = 1.0
"""Seconds of them in which AiiDA does nothing else: they add up over the jobs, however many run at a time."""

WORTH = 100.0
"""A job gets this many times `OVERHEAD` of work, where there is so much of it."""

STRIKES = 2
"""A frame that this many jobs ended on, or lacked resources for, is not tried again."""

RETRIED = frozenset({"walltime", "memory", "disk", "node failure", "killed", "resource", "damaged"})
"""Why a job may end early and yet be worth another try; `aiida_hqe.parsers.label` names the causes."""

LOST: dict[str, Any] = {"error_kind": "resource", "message": "its label job ended without a result for it"}
"""Reason of a frame that no job reports about."""

_LABEL = (*ENERGIES, *FORCES, *MM_FORCES)
_SAID = ("seconds", "core_seconds", "force_method", "baseline")
"""What a label says in the info of its frame (`aiida_hqe.labels.Label.apply`)."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the label jobs have brought so far.

    Attributes
    ----------
    labelled
        Where each labelled frame is, by its hash: name of the result, row in it.
    failed
        Why a frame has no label, by its hash, for those that are not tried again.
    waiting
        Frames to try (again), those that ended a job before last, so that they keep no other from being labelled.
    """

    labelled: dict[str, tuple[str, int]]
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
    labelled: dict[str, tuple[str, int]] = {}
    reasons: dict[str, dict[str, Any]] = {}
    strikes: Counter[str] = Counter()
    final: set[str] = set()
    for name in sorted(results, key=lambda name: name.partition("_")[2]):
        node = results[name]
        if isinstance(node, FramesData):
            labelled |= {key: (name, row) for key, row in node.rows.items()}
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
    wanted, labels = frames.rows, dict[str, Frame]()
    for name in sorted(earlier):
        held = {key: row for key, row in earlier[name].rows.items() if key in wanted and key not in labels}
        labels |= dict(zip(held, earlier[name].take(list(held.values())), strict=True))
    taken = frames.take([wanted[key] for key in wanted if key in labels])
    missing = [row for key, row in wanted.items() if key not in labels]
    parts: dict[str, FramesData] = {}
    if taken:
        parts["frames"] = FramesData.from_frames(Frames(_with_label(frame, labels[frame.hash]) for frame in taken))
    return parts | ({"missing": frames.subset(missing)} if missing else {})


def _with_label(frame: Frame, labelled: Frame) -> Frame:
    """`frame` with the label of another one of the same configuration."""
    own = {key: value for key, value in frame.info.items() if key not in _SAID}
    said = {key: labelled.info[key] for key in _SAID if key in labelled.info}
    return frame.replace(**{name: getattr(labelled, name) for name in _LABEL}, info=own | said)


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
    rows = list(frames.rows.values())
    return _batches(frames, rows, job_count(len(rows), batches.value, seconds_per_label(measured)))


def job_count(n_frames: int, at_most: int, seconds: float | None) -> int:
    """Jobs that share `n_frames` frames of so many seconds each; `at_most` where the seconds are not known.

    As many as have `WORTH` times their overhead to do. Of less work also more, as long as sharing it saves more time than the
    jobs' turns at AiiDA cost: work / jobs + turn * jobs is least for sqrt(work / turn) jobs.
    """
    if seconds is None:
        return max(1, min(at_most, n_frames))
    work = n_frames * seconds
    return max(1, min(at_most, n_frames, max(int(work / (WORTH * OVERHEAD)), math.isqrt(int(work / IN_TURN)))))


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
    rows = frames.rows
    waiting = [rows[key] for key in outcome(rows, results).waiting]
    return _batches(frames, waiting, max(1, min(batches.value, len(waiting)))) if waiting else {}


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
    hashes = list(flagged.rows)
    found = outcome(hashes, results)
    outputs: dict[str, FramesData | Dict] = {}
    if found.labelled:
        names = sorted({name for name, _ in found.labelled.values()})
        places = [found.labelled[key] for key in hashes if key in found.labelled]
        nodes: list[Any] = [results[name] for name in names]
        outputs["frames"] = FramesData.pick(nodes, [(names.index(name), row) for name, row in places])
    quarantined = found.failed | dict.fromkeys(found.waiting, LOST)
    if quarantined:
        outputs["failed"] = Dict({key: quarantined[key] for key in hashes if key in quarantined})
    return outputs


def _batches(frames: FramesData, rows: list[int], hands: int) -> dict[str, FramesData]:
    return {f"batch_{hand:02d}": frames.subset(rows[hand::hands]) for hand in range(hands)}
