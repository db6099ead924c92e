"""Calcfunctions that say how good a round was, how errors fell from round to round, and why the campaign ended."""

from __future__ import annotations

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, Int, SinglefileData, Str

from aiida_hqe.calculations.functions import predictions_of, residuals_of
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frames
from aiida_hqe.predictions import Residuals


@calcfunction
def assess(
    number: Int,
    selection: Dict | None = None,
    sampling: Dict | None = None,
    labelled: FramesData | None = None,
    failed: Dict | None = None,
    training_set: FramesData | None = None,
    held_out: FramesData | None = None,
    calibration: Dict | None = None,
    previous_calibration: Dict | None = None,
    predictions: SinglefileData | None = None,
    previous: Dict | None = None,
) -> Dict:
    """Summary of one round.

    Parameters
    ----------
    number
        Number of the round.
    selection, sampling
        Counts of the selection, and the status of the sampling; missing where labels were given.
    labelled, failed
        New labels, and quarantined frames.
    training_set, held_out
        Sets after the round.
    calibration
        Of the committee that the round trained, or of the one before if it trained none.
    previous_calibration, predictions
        Calibration that flagged the frames, and what its committee predicted for them before they were labelled.
    previous
        Assessment of the round before.

    Returns
    -------
    Dict
        Counts (``sampled``, ``uncertain``, ``flagged``, ``labelled``, ``failed``, ``training_frames``,
        ``held_out_frames``), errors on held-out labels (eV, eV/angstrom), coverages, costs (s; ``spent_seconds`` of all labels
        so far but those that were given), and whether the sample means ``converged``.
    """
    new = Frames() if labelled is None else labelled.frames
    trusted = sampling is None or sampling["state"] != "untrusted"
    costs = {name: sum(float(frame.info.get(name, 0.0)) for frame in new) for name in ("seconds", "core_seconds")}
    return Dict(
        {
            "round": number.value,
            **_counts(selection, len(new), failed),
            "trusted": trusted,
            "converged": trusted and selection is not None and selection["converged"],
            **_quality(calibration),
            "fresh_coverage": _fresh_coverage(new, previous_calibration, predictions),
            "core_seconds": costs["core_seconds"],
            "label_seconds": costs["seconds"],
            "spent_seconds": (0.0 if selection is None else costs["seconds"])
            + (0.0 if previous is None else previous["spent_seconds"]),
            "training_frames": 0 if training_set is None else training_set.n_frames,
            "held_out_frames": 0 if held_out is None else held_out.n_frames,
        }
    )


@calcfunction
def learning_curve(held_out: FramesData, **rounds: Dict | SinglefileData) -> Dict:
    """Errors of every round's committee on the same, final held-out labels, which none of them was trained on.

    Parameters
    ----------
    held_out
        The final held-out set.
    rounds
        For each round ``assessment_<number>``, and ``predictions_<number>`` where it trained a committee.

    Returns
    -------
    Dict
        ``rounds``: a list of mappings with ``round``, ``training_frames``, ``force_error`` and its standard error
        ``force_error_uncertainty``, ``member_force_errors`` (eV/angstrom), ``energy_error`` (eV), and ``trained``: a round that
        brought no new label trained nothing, and has the errors of the committee before; ``level`` of the forces.
    """
    level, errors, curve = None, dict[str, Any](), []
    assessed = {name: node["round"] for name, node in rounds.items() if name.startswith("assessment_")}
    for name in sorted(assessed, key=lambda name: assessed[name]):
        predictions = rounds.get(name.replace("assessment", "predictions"))
        if predictions is not None:
            found = residuals_of(held_out, predictions)
            level, errors = found.level, {**_errors(found), "training_frames": rounds[name]["training_frames"]}
        if errors:
            curve.append({**errors, "round": rounds[name]["round"], "trained": predictions is not None})
    return Dict({"level": level, "frames": held_out.n_frames, "rounds": curve})


@calcfunction
def stopped(number: Int) -> Str:
    """Cause of the end of a campaign that its user asked to stop, in the round with this number."""
    return Str(f"stopped by the user in round {number.value}")


@calcfunction
def verdict(campaign: Dict, assessment: Dict, cause: Str | None = None) -> Dict:
    """Why the campaign ended, after the round of `assessment`; `cause` where it was not the campaign's own rule."""
    plan = Campaign.model_validate(campaign.get_dict())
    last = assessment.get_dict()
    return Dict(
        {
            "converged": last["converged"],
            "reason": cause.value if cause is not None else (reason_to_stop(plan, last) or "stopped"),
            "rounds": last["round"],
            "labels": last["training_frames"] + last["held_out_frames"],
            "force_error": last["force_error"],
            "target_force_error": plan.selection.target_force_error,
            "uncertain_fraction": last["uncertain_fraction"],
            "label_seconds": last["spent_seconds"],
        }
    )


def reason_to_stop(plan: Campaign, last: dict[str, Any]) -> str | None:
    """Why a campaign ends after the round with assessment `last`; ``None`` if it goes on."""
    stop = plan.stop
    if last["converged"]:
        return (
            f"converged: {last['uncertain_fraction']:.1%} of a fresh sample may be wrong by more than the target force error,"
            f" below the {stop.uncertain_fraction:.1%} asked for"
        )
    if last["round"] and not last["flagged"]:
        return "stopped: every uncertain frame of the sample is labelled or quarantined already; sample for longer"
    if last["round"] >= stop.iterations:
        return f"not converged after the {stop.iterations} rounds asked for: {_uncertain(last)}"
    if stop.core_hours is not None and plan.resources.threads * last["spent_seconds"] >= stop.core_hours:
        return f"not converged when the {stop.core_hours / 3600:g} core hours for labels were spent: {_uncertain(last)}"
    return None


def _uncertain(last: dict[str, Any]) -> str:
    if last["uncertain_fraction"] is None:
        return "no sample was taken"
    stopped = "" if last["trusted"] else ", and the committee left its trust region in it"
    return f"{last['uncertain_fraction']:.0%} of the last sample was uncertain{stopped}"


def _counts(selection: Dict | None, n_new: int, failed: Dict | None) -> dict[str, Any]:
    """Frames on their way: sampled, uncertain, flagged, labelled, failed; and those given instead of sampled."""
    chosen = {} if selection is None else selection.get_dict()
    return {
        **{name: chosen.get(name, 0) for name in ("sampled", "uncertain", "flagged")},
        "uncertain_fraction": chosen.get("uncertain_fraction"),
        "labelled": 0 if selection is None else n_new,
        "given": n_new if selection is None else 0,
        "failed": 0 if failed is None else len(failed.get_dict()),
    }


def _quality(calibration: Dict | None) -> dict[str, Any]:
    """Errors and coverages on the held-out labels."""
    names = ("force_error", "force_error_uncertainty", "energy_error", "coverage", "raw_coverage", "rank_correlation")
    return {name: None if calibration is None else calibration.get_dict().get(name) for name in names}


def _fresh_coverage(frames: Frames, calibration: Dict | None, predictions: SinglefileData | None) -> float | None:
    """Fraction of new labels within the bounds that were stated before they were known."""
    if calibration is None or predictions is None or not frames:
        return None
    from aiida_hqe.selection.calibration import Calibration, coverage

    return coverage(Calibration.model_validate(calibration.get_dict()), frames, predictions_of(predictions))


def _errors(found: Residuals) -> dict[str, Any]:
    """Errors of one committee on frames."""
    from aiida_hqe.selection.calibration import calibrated

    fit = calibrated(found, 0.5)
    return {
        "force_error": fit.force_error,
        "force_error_uncertainty": fit.force_error_uncertainty,
        "energy_error": fit.energy_error,
        "member_force_errors": [float(error) for error in found.member_errors.mean(axis=0)],
    }
