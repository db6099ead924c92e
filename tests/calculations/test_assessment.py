from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiida import orm
from campaign_cases import campaign, data, labelled, predictions, step

from aiida_hqe.calculations.assessment import assess, learning_curve, reason_to_stop, verdict
from aiida_hqe.calculations.functions import calibrate
from aiida_hqe.campaign.schema import Campaign

pytestmark = pytest.mark.usefixtures("aiida_profile")

LAST = {
    "round": 1, "converged": False, "flagged": 3, "uncertain_fraction": 0.5, "trusted": True, "spent_seconds": 100.0,
    "training_frames": 8, "held_out_frames": 4, "force_error": 0.2,
}  # fmt: skip


def plan(**stop: Any) -> Campaign:
    return Campaign.model_validate(campaign(stop={"iterations": 2, "uncertain_fraction": 0.3} | stop).get_dict())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"converged": True, "uncertain_fraction": 0.1}, "converged: 10.0%"),
        ({"round": 2}, "not converged after the 2 rounds"),
        ({"spent_seconds": 7200.0}, "when the 1 core hours for labels were spent"),
        ({"flagged": 0}, "every uncertain frame"),
        ({"round": 2, "trusted": False}, "left its trust region"),
        ({"round": 0, "flagged": 0, "uncertain_fraction": None}, None),
    ],
)
def test_each_ending_states_its_reason(change: dict[str, Any], reason: str | None) -> None:
    found = reason_to_stop(plan(core_hours="1 h"), LAST | change)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


def test_the_budget_counts_every_thread_of_a_label() -> None:
    """Half an hour of labels on four threads are two hours of processor time."""
    half = LAST | {"spent_seconds": 1800.0}
    document = campaign(stop={"iterations": 2, "core_hours": "1 h"}, resources={"threads": 4}).get_dict()
    assert reason_to_stop(plan(core_hours="1 h"), half) is None
    assert "1 core hours" in str(reason_to_stop(Campaign.model_validate(document), half))


def test_labels_that_a_campaign_was_given_are_not_paid_from_its_budget() -> None:
    given = assess(orm.Int(0), labelled=data(labelled(3)), training_set=data(labelled(3)))
    assert (given["given"], given["labelled"]) == (3, 0)
    assert given["label_seconds"] > given["spent_seconds"] == 0.0
    assert reason_to_stop(plan(core_hours="1 s"), given.get_dict()) is None


def test_the_verdict_counts_labels_and_states_the_error() -> None:
    found = verdict(campaign(), orm.Dict(LAST | {"round": 2})).get_dict()
    assert (found["converged"], found["labels"], found["force_error"], found["rounds"]) == (False, 12, 0.2, 2)
    assert verdict(campaign(), orm.Dict(LAST), orm.Str("stopped by hand"))["reason"] == "stopped by hand"


def test_coverage_of_fresh_labels_is_judged_by_the_bounds_stated_before() -> None:
    frames = labelled(8)
    before = calibrate(data(frames), predictions(frames, 0.05, 0.02), step())
    new = labelled(4, first=8)
    inputs = {"labelled": data(new), "calibration": before, "previous_calibration": before}
    kept = assess(orm.Int(1), predictions=predictions(new, 0.04, 0.02), **inputs)
    broken = assess(orm.Int(1), predictions=predictions(new, 0.50, 0.02), **inputs)
    assert (kept["fresh_coverage"], broken["fresh_coverage"]) == (1.0, 0.0)


def test_an_assessment_adds_up_counts_and_costs() -> None:
    chosen = orm.Dict({"sampled": 9, "uncertain": 5, "flagged": 4, "uncertain_fraction": 5 / 9, "converged": False})
    found = assess(
        orm.Int(1),
        selection=chosen,
        sampling=orm.Dict({"state": "finished"}),
        labelled=data(labelled(3)),
        failed=orm.Dict({"a": {}}),
        training_set=data(labelled(5)),
        held_out=data(labelled(2)),
        previous=orm.Dict({"spent_seconds": 10.0}),
    ).get_dict()
    assert (found["sampled"], found["flagged"], found["labelled"], found["failed"]) == (9, 4, 3, 1)
    assert (found["training_frames"], found["held_out_frames"]) == (5, 2)
    assert (found["label_seconds"], found["core_seconds"], found["spent_seconds"]) == (6.0, 1.5, 16.0)


def test_a_sample_that_was_cut_short_never_means_converged() -> None:
    chosen = orm.Dict({"sampled": 1, "uncertain": 0, "flagged": 0, "uncertain_fraction": 0.0, "converged": True})
    assert not assess(orm.Int(1), selection=chosen, sampling=orm.Dict({"state": "untrusted"}))["converged"]
    assert assess(orm.Int(1), selection=chosen, sampling=orm.Dict({"state": "finished"}))["converged"]


def test_the_learning_curve_recovers_known_errors() -> None:
    frames = labelled(6)
    curve = learning_curve(
        data(frames),
        predictions_00=predictions(frames, 0.4, 0.02),
        predictions_01=predictions(frames, 0.1, 0.02),
        assessment_00=orm.Dict({"round": 0, "training_frames": 8}),
        assessment_01=orm.Dict({"round": 1, "training_frames": 11}),
    ).get_dict()
    assert curve["level"] == "environment"
    assert [point["training_frames"] for point in curve["rounds"]] == [8, 11]
    per_atom = np.sqrt(2)  # the norm divides by the two QM atoms
    for point, error in zip(curve["rounds"], (0.4, 0.1), strict=True):
        assert point["force_error"] == pytest.approx(error / per_atom)
        assert point["member_force_errors"] == pytest.approx([(error - 0.01) / per_atom, (error + 0.01) / per_atom])
        assert point["energy_error"] == pytest.approx(error)


def test_a_round_that_trained_nothing_keeps_its_point_with_the_errors_of_the_committee_before() -> None:
    frames = labelled(6)
    curve = learning_curve(
        data(frames),
        predictions_00=predictions(frames, 0.4, 0.02),
        predictions_02=predictions(frames, 0.1, 0.02),
        **{f"assessment_{n:02d}": orm.Dict({"round": n, "training_frames": 8 + n}) for n in range(4)},
    ).get_dict()
    points = curve["rounds"]
    assert [(point["round"], point["trained"]) for point in points] == [(0, True), (1, False), (2, True), (3, False)]
    assert [point["training_frames"] for point in points] == [8, 8, 10, 10]
    assert points[1]["force_error"] == points[0]["force_error"] > points[2]["force_error"] == points[3]["force_error"]


def test_the_learning_curve_goes_by_the_number_of_the_round_also_beyond_a_hundred() -> None:
    frames = labelled(6)
    rounds = {f"assessment_{n:02d}": orm.Dict({"round": n, "training_frames": n}) for n in (99, 100, 101)}
    curve = learning_curve(data(frames), predictions_99=predictions(frames, 0.4, 0.02), **rounds)
    assert [point["round"] for point in curve["rounds"]] == [99, 100, 101]
