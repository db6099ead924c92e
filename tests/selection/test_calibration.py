"""A calibrated bound holds as often as it says on exchangeable frames, and nothing is promised from too few of them."""

from __future__ import annotations

import numpy as np
import pytest
from selection_cases import made

from aiida_hqe.errors import InputError
from aiida_hqe.selection.calibration import Calibration, calibrate, coverage, force_errors, frames_needed


def _population(size: int, overconfidence: float = 3.0, seed: int = 0, start: int = 0):  # type: ignore[no-untyped-def]
    """Frames whose error is chi-distributed around a multiple of their disagreement."""
    rng = np.random.default_rng(seed)
    disagreements = np.exp(rng.normal(-3.0, 0.6, size))
    errors = overconfidence * disagreements * np.linalg.norm(rng.normal(size=(size, 6)), axis=1) / np.sqrt(6)
    return made(zip(errors, disagreements, strict=True), start)


def test_errors_and_disagreements_are_those_of_the_definition() -> None:
    pairs = [(0.1, 0.2), (0.0, 0.3), (0.5, 0.05)]
    errors, disagreements = force_errors(*made(pairs), "environment")
    np.testing.assert_allclose(np.transpose([errors, disagreements]), pairs, atol=1e-15)


def test_bound_covers_ninety_percent_of_an_exchangeable_population() -> None:
    frames, predictions = _population(500)
    rng = np.random.default_rng(1)
    found, raw = [], []
    for _ in range(40):
        order = rng.permutation(len(frames))
        held_out, fresh = order[:39], order[39:139]
        calibration = calibrate([frames[i] for i in held_out], [predictions[i] for i in held_out], 0.9)
        found.append(coverage(calibration, [frames[i] for i in fresh], [predictions[i] for i in fresh]))
        raw.append(calibration.raw_coverage)
    assert 0.88 <= np.mean(found) <= 0.92
    assert np.mean(raw) < 0.6  # the same committee, uncalibrated, is overconfident


def test_factor_tends_to_the_quantile_of_the_scores() -> None:
    scores = np.random.default_rng(2).permutation(np.arange(1, 1000)) / 1000
    calibration = calibrate(*made((0.2 * score, 0.2) for score in scores), 0.9)
    assert calibration.force_factor == pytest.approx(0.9, abs=1e-12)  # rank ceil(1000 * 0.9) of 999
    assert calibration.energy_factor == pytest.approx(2 * 2 * 0.9, abs=1e-9)
    assert calibration.coverage == pytest.approx(0.9, abs=2e-3)


@pytest.mark.parametrize(("size", "rank"), [(9, 9), (10, 10), (18, 18), (19, 18), (20, 19), (40, 37)])
def test_factor_is_the_score_of_the_rank_that_exchangeability_asks_for(size: int, rank: int) -> None:
    scores = np.random.default_rng(3).permutation(np.arange(1.0, size + 1.0))
    assert calibrate(*made((0.1 * score, 0.1) for score in scores), 0.9).force_factor == pytest.approx(rank)


def test_coverage_drops_under_shift() -> None:
    calibration = calibrate(*_population(60), 0.9)
    assert coverage(calibration, *_population(200, overconfidence=9.0, seed=3, start=100)) < 0.6


def test_a_factor_scales_with_the_error_and_inversely_with_the_disagreement() -> None:
    pairs = np.random.default_rng(4).uniform(0.1, 1.0, size=(30, 2))
    factor = calibrate(*made(pairs.tolist()), 0.9).force_factor
    assert calibrate(*made((pairs * [2.0, 0.5]).tolist()), 0.9).force_factor == pytest.approx(4 * factor)


def test_bound_and_threshold_are_inverse() -> None:
    calibration = calibrate(*_population(40), 0.9)
    assert calibration.force_bound(calibration.threshold(0.1)) == pytest.approx(0.1)
    assert calibration.energy_bound(0.2) == pytest.approx(0.2 * calibration.energy_factor)


@pytest.mark.parametrize("target", [0.0, -0.1, float("nan"), float("inf")])
def test_a_target_error_of_zero_is_refused(target: float) -> None:
    with pytest.raises(InputError, match="a target error above zero"):
        calibrate(*_population(40), 0.9).threshold(target)


@pytest.mark.parametrize(("confidence", "needed"), [(0.9, 9), (0.8, 4), (0.95, 19), (0.99, 99), (0.5, 1), (2 / 3, 2)])
def test_too_few_labels_name_the_number_needed(confidence: float, needed: int) -> None:
    assert frames_needed(confidence) == needed
    calibrate(*_population(needed), confidence)
    with pytest.raises(InputError, match=rf"at least {needed} held-out labels .* \(got {needed - 1}\)"):
        calibrate(*_population(needed - 1), confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5, -1.0])
def test_a_confidence_outside_zero_and_one_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        calibrate(*_population(20), confidence)


def test_target_forces_are_compared_where_all_labels_have_them() -> None:
    frames, predictions = _population(20)
    assert calibrate(frames, predictions, 0.9).level == "environment"
    target = [frame.replace(forces=np.full((1, 3), 1.0), mm_forces=np.zeros((0, 3))) for frame in frames]
    calibration = calibrate(target, predictions, 0.9)
    assert calibration.level == "target"
    assert calibration.force_error > 1.0
    assert calibrate([*target[:-1], frames[-1]], predictions, 0.9).level == "environment"


def test_energies_are_optional_and_the_target_is_preferred() -> None:
    frames, predictions = _population(20)
    assert calibrate(frames, predictions, 0.9).energy_level == "target"
    environment = calibrate([frame.replace(energy=None) for frame in frames], predictions, 0.9)
    assert environment.energy_level == "environment"
    none = calibrate([frame.replace(energy=None, environment_energy=None) for frame in frames], predictions, 0.9)
    assert none.energy_factor is None
    with pytest.raises(InputError, match="label energies"):
        none.energy_bound(0.1)


def test_missing_labels_or_predictions_are_bad_input() -> None:
    frames, predictions = _population(20)
    with pytest.raises(InputError, match="environment forces"):
        calibrate([frame.unlabelled() for frame in frames], predictions, 0.9)
    with pytest.raises(InputError, match="a prediction for every frame"):
        calibrate(frames, predictions[1:], 0.9)
    with pytest.raises(InputError, match="got none"):
        coverage(calibrate(frames, predictions, 0.9), [], [])


def test_order_of_predictions_does_not_matter() -> None:
    frames, predictions = _population(20)
    assert calibrate(frames, predictions[::-1], 0.9) == calibrate(frames, predictions, 0.9)


def test_a_frame_of_no_disagreement_still_has_a_bound() -> None:
    pairs = [(0.1, 0.1)] * 19 + [(0.1, 0.0)]
    calibration = calibrate(*made(pairs), 0.9)
    assert calibration.force_factor == pytest.approx(1.0)
    assert 0 < calibration.force_bound(0.0) < 1e-3
    assert coverage(calibration, *made([(0.1, 0.0)])) == 0.0


def test_members_that_never_disagree_are_refused() -> None:
    with pytest.raises(InputError, match="different seeds"):
        calibrate(*made([(0.1, 0.0)] * 20), 0.9)


def test_uncertainty_of_the_force_error_is_its_standard_error() -> None:
    frames, predictions = _population(200)
    calibration = calibrate(frames, predictions, 0.9)
    expected = np.std(calibration.errors, ddof=1) / np.sqrt(200)
    assert calibration.force_error == pytest.approx(np.mean(calibration.errors))
    assert calibration.force_error_uncertainty == pytest.approx(expected, rel=0.1)


def test_rank_correlation_is_one_for_a_perfect_ranking() -> None:
    values = np.linspace(0.1, 1.0, 20)
    assert calibrate(*made(zip(values**2, values, strict=True)), 0.9).rank_correlation == pytest.approx(1.0)
    assert calibrate(*made(zip(values**2, values[::-1], strict=True)), 0.9).rank_correlation == pytest.approx(-1.0)
    assert calibrate(*made((0.1, value) for value in values), 0.9).rank_correlation == 0.0


def test_a_calibration_survives_json_and_is_reproducible() -> None:
    calibration = calibrate(*_population(20), 0.9)
    assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration
    assert Calibration.model_validate(calibration.model_dump(mode="json")) == calibrate(*_population(20), 0.9)
