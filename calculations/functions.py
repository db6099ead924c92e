"""Calcfunctions of the campaign: selecting, partitioning, sharing, assembling and calibrating, each a node of the graph.

Their science is in the rooms below; they only turn nodes into its arguments and its results into nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiida.engine import ExitCode, calcfunction
from aiida.orm import Dict, Int, SinglefileData

from aiida_hqe.calculations.settings import SelectionStep
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.predictions import Prediction, Residuals


@calcfunction
def share(settings: Dict, batches: Int) -> dict[str, Dict]:
    """Share the members of a training among at most `batches` jobs: ``job_00``, ..."""
    job = files.TrainJob.model_validate(settings.get_dict())
    parts = _deal(job.members, batches.value)
    shares = [job.model_copy(update={"members": list(part)}) for part in parts]
    return {f"job_{number:02d}": Dict(share.model_dump(mode="json")) for number, share in enumerate(shares)}


@calcfunction
def assemble(**parts: CommitteeData) -> CommitteeData:
    """One committee of the members that several jobs trained."""
    return CommitteeData.merge([parts[key] for key in sorted(parts)])


@calcfunction
def select(
    frames: FramesData, settings: Dict, calibration: Dict | None = None, **known: FramesData | Dict
) -> dict[str, Any]:
    """Choose the frames that are worth a label.

    Parameters
    ----------
    frames
        A fresh sample.
    settings
        `SelectionStep`.
    calibration
        Of the committee that sampled; without one every frame of a first set is chosen.
    known
        Frames that were labelled (`FramesData`) or quarantined (`Dict`) before: they are not chosen again.

    Returns
    -------
    dict
        ``selection``: counts, uncertain fraction, and whether that means converged; ``flagged``: the frames with bound,
        threshold, rank and reason in their info, left out when converged or empty.
    """
    from aiida_hqe.selection.calibration import Calibration
    from aiida_hqe.selection.select import select as choose

    step = SelectionStep.model_validate(settings.get_dict())
    scale = None if calibration is None else Calibration.model_validate(calibration.get_dict())
    chosen = choose(frames, scale, step.selection, known=_known(known.values()), seed=step.seed)
    converged = step.converged_below is not None and chosen.uncertain_fraction < step.converged_below
    flagged = Frames() if converged else chosen.frames
    summary = {
        "sampled": chosen.n_sampled,
        "uncertain": chosen.n_uncertain,
        "uncertain_fraction": chosen.uncertain_fraction,
        "flagged": len(flagged),
        "converged": converged,
    }
    outputs: dict[str, Any] = {"selection": Dict(summary)}
    if flagged:
        outputs["flagged"] = frames.annotated(flagged)
    return outputs


@calcfunction
def partition(
    frames: FramesData, settings: Dict, training_set: FramesData | None = None, held_out: FramesData | None = None
) -> dict[str, FramesData]:
    """Divide new labels into training and held-out ones, and add them to those of before; no frame is copied.

    The division follows the content hash of the frames: it is random with respect to their physics, and the same for equal
    frames. A first division holds out at least what a calibration needs.

    Parameters
    ----------
    frames
        New labelled frames.
    settings
        `SelectionStep`: the fraction to hold out, and the confidence that a calibration must reach.
    training_set, held_out
        Sets so far.

    Returns
    -------
    dict
        ``training_set``, ``held_out``, and ``labels``: both together; ``added_training`` and ``added_held_out``: what is new in
        each. Each only if it has a frame.
    """
    from aiida_hqe.selection.calibration import frames_needed

    step = SelectionStep.model_validate(settings.get_dict())
    old = {key for node in (training_set, held_out) if node is not None for key in node.hashes}
    rows = {key: row for key, row in frames.rows.items() if key not in old}
    missing = frames_needed(step.selection.confidence) - (0 if held_out is None else held_out.n_frames)
    chosen = set(sorted(rows)[: max(round(step.held_out * len(rows)), missing)])
    added_training = frames.subset([row for key, row in rows.items() if key not in chosen])
    added_held_out = frames.subset([row for key, row in rows.items() if key in chosen])
    return _sets(added_training, added_held_out, training_set, held_out)


@calcfunction
def divide(frames: FramesData, held_out: FramesData) -> dict[str, FramesData]:
    """Divide given labels as they were divided before, so that a committee is never judged on what it was trained on.

    Returns
    -------
    dict
        As `partition`: the training set is `frames` without `held_out`.
    """
    kept = held_out.rows
    added_training = frames.subset([row for key, row in frames.rows.items() if key not in kept])
    return _sets(added_training, held_out.subset(kept.values()), None, None)


@calcfunction
def calibrate(frames: FramesData, predictions: SinglefileData, settings: Dict) -> Dict | ExitCode:
    """Calibration of a committee on held-out labels, at the confidence in `settings` (`SelectionStep`).

    It ends with exit code 400 where there is none, because members never disagree or labels are too few.
    """
    from aiida_hqe.selection.calibration import calibrated, require_enough

    confidence = SelectionStep.model_validate(settings.get_dict()).selection.confidence
    try:
        require_enough(frames.n_frames, confidence)
        return Dict(calibrated(residuals_of(frames, predictions), confidence).model_dump(mode="json"))
    except InputError as error:
        return ExitCode(400, str(error))


def _deal(items: Any, hands: int) -> list[Any]:
    hands = max(1, min(hands, len(items)))
    return [items[hand::hands] for hand in range(hands)]


def _sets(
    added_training: FramesData, added_held_out: FramesData, training_set: FramesData | None, held_out: FramesData | None
) -> dict[str, FramesData]:
    """The sets of before with what is added to them."""
    training = [node for node in (training_set, added_training) if node is not None]
    kept = [node for node in (held_out, added_held_out) if node is not None]
    sets = {
        "training_set": FramesData.join(training),
        "held_out": FramesData.join(kept),
        "labels": FramesData.join([*training, *kept]),
        "added_training": added_training,
        "added_held_out": added_held_out,
    }
    return {name: node for name, node in sets.items() if node.n_frames}


def _known(nodes: Iterable[FramesData | Dict]) -> list[Any]:
    """Hashes of the labelled and the quarantined frames, and the frames themselves of the last labels, for diversity."""
    from aiida_hqe.selection.select import COMPARED

    nodes = list(nodes)
    labelled = [node for node in nodes if isinstance(node, FramesData)]
    known: list[Any] = [key for node in nodes for key in (node.hashes if node in labelled else node.get_dict())]
    for node in labelled:
        first = max(0, node.n_frames - COMPARED // len(labelled))
        known += node.take(range(first, node.n_frames))
    return known


def residuals_of(frames: FramesData, node: SinglefileData) -> Residuals:
    """How far a committee is from the labels of `frames`, by what it said of them.

    Raises
    ------
    InputError
        It said nothing of them, or they have no labels.
    """
    from aiida_hqe.residuals import holds_residuals, read_residuals
    from aiida_hqe.selection.residuals import residuals

    with node.as_path() as path:
        if not holds_residuals(path):
            return residuals(frames.frames, predictions_of(node))
        found = read_residuals(path)
    if found.frames != frames.hashes:
        raise InputError(f"residuals of the frames of node {frames.uuid} were expected (got others): predict those")
    return found


def predictions_of(node: SinglefileData) -> list[Prediction]:
    """The predictions in a node, in their order."""
    from aiida_hqe.hdf5 import read_predictions

    with node.as_path() as path:
        return read_predictions(path)
