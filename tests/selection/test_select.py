"""What is selected, in which order, and why."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from selection_cases import made

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.selection.calibration import calibrate
from aiida_hqe.selection.diversity import descriptors, farthest_points
from aiida_hqe.selection.select import select
from aiida_hqe.selection.settings import SelectionSettings

CALIBRATION = calibrate(*made([(0.2, 0.1)] * 20, start=1000), 0.9)  # factor 2; energies: error 0.4, factor 8
STRATEGIES = ["committee", "random", "farthest_point"]


def _settings(**changes: object) -> SelectionSettings:
    return SelectionSettings.model_validate({"target_force_error": "0.1 eV/angstrom", "batch": 4, **changes})


def _water(bend: float, step: int, disagreement: float = 0.1, shift: float = 0.0) -> Frame:
    """A water with one proton moved by `bend`, in one charge."""
    return Frame(
        numbers=[8, 1, 1],
        positions=[[0.0, 0.0, 0.0], [0.96 + bend, 0.0, 0.0], [-0.24, 0.93, 0.0]],
        charge=0,
        spin=0,
        mm_numbers=[8],
        mm_positions=[[0.0, 0.0, 3.0 + shift]],
        mm_charges=[-0.8],
        info={"step": step, "disagreement": disagreement},
    )


def _pool(size: int = 30, outliers: int = 3) -> Frames:
    rng = np.random.default_rng(0)
    bends = np.concatenate([rng.normal(0.0, 0.01, size - outliers), rng.normal(0.5, 0.01, outliers)])
    return Frames(_water(bend, step) for step, bend in enumerate(bends))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_known_frame_is_never_chosen_again(strategy: str) -> None:
    pool = _pool()
    labelled = Frames(pool[:25])
    for known in (labelled, list(labelled), set(labelled.hashes)):
        chosen = select(pool, CALIBRATION, _settings(strategy=strategy, batch=10), known=known, seed=0)
        assert {frame.hash for frame in chosen.frames} == {frame.hash for frame in pool[25:]}
        assert chosen.n_sampled == 30
    everything = select(pool, CALIBRATION, _settings(strategy=strategy), known=pool, seed=0)
    assert everything.frames == ()


def test_committee_chooses_only_frames_whose_bound_exceeds_the_target() -> None:
    frames = Frames(_water(0.01 * i, i, disagreement=0.01 * i) for i in range(11))
    chosen = select(frames, CALIBRATION, _settings(batch=20), seed=0)
    assert {frame.info["step"] for frame in chosen.frames} == {6, 7, 8, 9, 10}  # 2 x 0.05 is not above 0.1
    assert (chosen.n_sampled, chosen.n_uncertain) == (11, 5)
    assert chosen.uncertain_fraction == pytest.approx(5 / 11)
    for frame in chosen.frames:
        assert frame.info["bound"] == pytest.approx(2 * frame.info["disagreement"])
        assert frame.info["threshold"] == pytest.approx(0.05)
        assert frame.info["reason"] == "uncertain"
    assert [frame.info["rank"] for frame in chosen.frames] == [1, 2, 3, 4, 5]


def test_the_most_uncertain_come_first_without_diversity() -> None:
    frames = Frames(_water(0.01 * i, i, disagreement=0.1 + 0.01 * i) for i in range(10))
    chosen = select(frames, CALIBRATION, _settings(diversity=False), seed=0)
    assert [frame.info["step"] for frame in chosen.frames] == [9, 8, 7, 6]


def test_diversity_starts_at_the_most_uncertain_and_takes_the_outlier_cluster() -> None:
    pool = Frames([*_pool(), _water(0.0, 99, disagreement=0.9)])
    chosen = select(pool, CALIBRATION, _settings(batch=2), seed=0)
    assert chosen.frames[0].info["step"] == 99
    assert chosen.frames[1].info["step"] in {27, 28, 29}


def test_an_energy_target_makes_frames_uncertain_too() -> None:
    frames, _ = made([(0.0, 0.01)] * 5)
    assert select(frames, CALIBRATION, _settings(), seed=0).n_uncertain == 0
    chosen = select(frames, CALIBRATION, _settings(target_energy_error="10 meV"), seed=0)
    assert chosen.n_uncertain == 5
    assert chosen.frames[0].info["energy_bound"] == pytest.approx(8 * 0.005)


@pytest.mark.parametrize("strategy", ["random", "farthest_point"])
def test_controls_ignore_the_committee_but_count_what_is_uncertain(strategy: str) -> None:
    certain = Frames(frame.replace(info={**frame.info, "disagreement": 1e-4}) for frame in _pool())
    chosen = select(certain, CALIBRATION, _settings(strategy=strategy), seed=0)
    assert (len(chosen.frames), chosen.n_uncertain, chosen.frames[0].info["reason"]) == (4, 0, strategy)


def test_random_depends_on_the_seed_alone() -> None:
    pool = _pool()

    def steps(seed: int, frames: Frames) -> list[object]:
        settings = _settings(strategy="random", batch=10)
        return [frame.info["step"] for frame in select(frames, CALIBRATION, settings, seed=seed).frames]

    assert steps(1, pool) == steps(1, pool) == steps(1, Frames(reversed(pool)))
    assert steps(1, pool) != steps(2, pool)


def test_farthest_point_visits_the_outlier_cluster_unless_it_is_known() -> None:
    pool = _pool()
    settings = _settings(strategy="farthest_point", batch=1)
    (first,) = select(pool, CALIBRATION, settings, seed=0).frames
    assert first.info["step"] in {27, 28, 29}
    near = Frames(_water(0.5 + 0.001 * i, 200 + i) for i in range(3))
    (second,) = select(pool, CALIBRATION, settings, known=near, seed=0).frames
    assert second.info["step"] not in {27, 28, 29}


def test_the_first_set_is_taken_whole() -> None:
    bare = Frames(frame.replace(info={"step": 1}) for frame in _pool())
    chosen = select(bare, None, _settings(batch=2), known=bare[:1], seed=0)
    assert len(chosen.frames) == 29
    assert chosen.frames[0].info == {"step": 1, "rank": 1, "reason": "first set"}
    assert chosen.uncertain_fraction == 1.0


def test_a_repeated_frame_counts_once() -> None:
    pool = _pool(5, 0)
    chosen = select(Frames([*pool, *pool]), CALIBRATION, _settings(batch=20), seed=0)
    assert (chosen.n_sampled, len(chosen.frames)) == (5, 5)


def test_nothing_sampled_is_not_converged() -> None:
    with pytest.raises(InputError, match="got none"):
        select(Frames(), CALIBRATION, _settings(), seed=0)


def test_frames_without_a_disagreement_are_refused() -> None:
    bare = Frames(frame.replace(info={}) for frame in _pool())
    with pytest.raises(InputError, match="sample with a committee"):
        select(bare, CALIBRATION, _settings(), seed=0)


def test_descriptors_do_not_see_rotation_shift_or_order() -> None:
    rng = np.random.default_rng(5)
    base = {"numbers": np.array([8, 1, 1, 6]), "charge": 0, "spin": 0, "mm_numbers": [0] * 5}
    frames = [
        Frame(
            **base,
            positions=rng.normal(size=(4, 3)) * 2,
            mm_positions=rng.normal(size=(5, 3)) * 5,
            mm_charges=rng.normal(size=5),
        )
        for _ in range(6)
    ]
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    order, charges = [3, 2, 0, 1], [4, 2, 0, 1, 3]
    same = [
        frame.replace(
            numbers=frame.numbers[order],
            positions=frame.positions[order] @ turn.T + 5.0,
            mm_positions=frame.mm_positions[charges] @ turn.T + 5.0,
            mm_charges=frame.mm_charges[charges],
        )
        for frame in frames
    ]
    one, other = descriptors(frames, same)
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert np.linalg.norm(one[0] - one[1]) > 0.1


def test_descriptors_see_the_surroundings() -> None:
    points, _ = descriptors([_water(0.0, i, shift=shift) for i, shift in enumerate([0.0, 0.01, 1.0])])
    assert np.linalg.norm(points[0] - points[2]) > 10 * np.linalg.norm(points[0] - points[1]) > 0


def test_frames_of_unlike_composition_and_without_charges_are_comparable() -> None:
    atom, _ = made([(0.1, 0.1)])
    points, known = descriptors([*_pool(4, 1), *atom], atom)
    assert np.isfinite(points).all()
    np.testing.assert_allclose(known[0], points[-1])


def test_farthest_points_on_a_line() -> None:
    points = np.array([[0.0], [1.0], [2.0], [10.0], [5.0]])
    assert farthest_points(points, 3, np.zeros((0, 1))) == [3, 0, 4]
    assert farthest_points(points, 3, np.array([[10.0]])) == [0, 4, 2]
    assert farthest_points(points, 2, np.zeros((0, 1)), first=0) == [0, 3]
    assert sorted(farthest_points(points, 9, np.zeros((0, 1)))) == [0, 1, 2, 3, 4]
    assert sorted(farthest_points(np.zeros((4, 2)), 4, np.zeros((1, 2)))) == [0, 1, 2, 3]


def test_of_equally_distant_points_the_weightier_and_of_equally_weighty_the_farther_is_taken() -> None:
    points = np.array([[0.0], [1.0], [-1.0], [3.0]])
    assert farthest_points(points[:3], 2, np.array([[0.0]]), weights=np.array([1.0, 1.0, 2.0])) == [2, 1]
    assert farthest_points(points, 1, np.array([[0.0]]), weights=np.array([1.0, 4.0, 1.0, 1.0])) == [1]
    assert farthest_points(points, 3, points[:1], weights=np.full(4, 7.0)) == farthest_points(points, 3, points[:1])
    twins = np.array([[5.0], [5.0], [1.0]])
    assert farthest_points(twins, 2, np.array([[0.0]]), first=0, weights=np.array([9.0, 8.9, 0.1])) == [0, 2]


def test_of_two_outliers_equally_far_diversity_takes_the_one_of_larger_bound() -> None:
    pool = [_water(0.0, 0, disagreement=0.9), _water(0.51, 1, disagreement=0.2), _water(0.5, 2, disagreement=0.6)]
    crowd = [_water(0.001 * i, 10 + i, disagreement=0.8) for i in range(1, 6)]
    chosen = select(Frames([*pool, *crowd]), CALIBRATION, _settings(batch=2), seed=0)
    assert [frame.info["step"] for frame in chosen.frames] == [0, 2]
    controls = select(Frames([*pool, *crowd]), CALIBRATION, _settings(batch=2, diversity=False), seed=0)
    assert controls.frames[1].info["step"] >= 10
