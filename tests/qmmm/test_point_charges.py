"""The effective charges: whole molecules about the QM region, switched C2, independent of the choice of images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.charges import ChargeGroups, PointCharges, point_charges, switch
from aiida_hqe.qmmm.periodic import lattice_translation, molecules, spanning_tree, whole

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])
QM = np.array([[0.0, 0.0, 0.0], [1.1, 0.3, 0.0], [-0.4, 1.0, 0.5]])
GROUPS = ChargeGroups.of(np.array([-1, -1, -1, 0, 0, 0]), np.array([0.0, 0.0, 0.0, -0.8, 0.4, 0.4]))


def charges_with_water_at(centre: Floats, qm: Floats = QM) -> PointCharges:
    positions = np.concatenate([qm, WATER - WATER.mean(axis=0) + centre])
    return point_charges(qm, positions, None, GROUPS, 6.0, 1.5)


def test_switch_and_its_first_two_derivatives_are_continuous_at_both_ends() -> None:
    step = 1e-4
    for end, value in ((4.5, 0.0), (6.0, 1.0)):
        r = end + step * np.array([-1.0, 0.0, 1.0])
        absent, slope = switch(r, 6.0, 1.5)
        assert absent[1] == pytest.approx(value, abs=1e-14)
        assert slope[1] == pytest.approx(0.0, abs=1e-14)
        curvature = np.diff(slope) / step
        assert np.abs(curvature).max() < 0.01  # elsewhere it reaches 10 / sqrt(3) / 1.5^2 = 2.6 per square angstrom


def test_slope_of_the_switch_is_its_finite_difference() -> None:
    r, h = np.linspace(4.0, 6.5, 51), 1e-5
    numerical = (switch(r + h, 6.0, 1.5)[0] - switch(r - h, 6.0, 1.5)[0]) / (2 * h)
    np.testing.assert_allclose(switch(r, 6.0, 1.5)[1], numerical, atol=1e-8)


def test_a_molecule_is_present_as_a_whole_within_and_absent_beyond_the_cutoff_of_every_qm_atom() -> None:
    inside = charges_with_water_at(np.array([1.1 + 4.4, 0.3, 0.0]))
    outside = charges_with_water_at(np.array([1.1 + 6.01, 0.3, 0.0]))
    np.testing.assert_array_equal(inside.charges, [-0.8, 0.4, 0.4])
    assert len(outside.charges) == 0
    between = charges_with_water_at(np.array([1.1 + 5.3, 0.3, 0.0]))
    assert between.charges.sum() == pytest.approx(0.0, abs=1e-15)
    assert 0.01 < between.charges[1] < 0.39


def test_forces_through_the_switch_are_derivatives_of_the_effective_charges() -> None:
    gradient = np.array([0.7, -0.2, 1.3])  # some dE/dq
    centre = np.array([3.9, 4.2, 0.9])  # within the switch of all three QM atoms
    positions = np.concatenate([QM, WATER + centre])

    def energy(x: Floats) -> float:
        return float(gradient @ point_charges(x[:3], x, None, GROUPS, 6.0, 1.5).charges)

    qm, mm = point_charges(QM, positions, None, GROUPS, 6.0, 1.5).switch_forces(gradient)
    analytic, numerical, h = np.concatenate([qm, mm]), np.zeros((6, 3)), 1e-5
    for index in np.ndindex(6, 3):
        shift = np.zeros((6, 3))
        shift[index] = h
        numerical[index] = -(energy(positions + shift) - energy(positions - shift)) / (2 * h)
    assert np.abs(analytic).max() > 0.03
    np.testing.assert_allclose(analytic, numerical, atol=1e-9)
    np.testing.assert_allclose(analytic.sum(axis=0), 0.0, atol=1e-12)


def test_charges_are_independent_of_the_image_that_each_atom_is_in(methanol: Assembly) -> None:
    assert methanol.box is not None
    shifts = np.random.default_rng(0).integers(-3, 4, (methanol.n_atoms, 3)) @ methanol.box
    frame, moved = methanol.frame(), methanol.frame(methanol.positions + shifts, methanol.box)
    np.testing.assert_array_equal(frame.mm_numbers, moved.mm_numbers)
    np.testing.assert_allclose(frame.positions, moved.positions, atol=1e-10)
    np.testing.assert_allclose(frame.mm_positions, moved.mm_positions, atol=1e-10)
    np.testing.assert_allclose(frame.mm_charges, moved.mm_charges, atol=1e-10)


def test_charges_are_independent_of_the_origin(methanol: Assembly) -> None:
    frame, moved = methanol.frame(), methanol.frame(methanol.positions + np.array([3.7, -11.0, 101.3]), methanol.box)
    np.testing.assert_allclose(frame.positions, moved.positions, atol=1e-10)
    np.testing.assert_allclose(frame.mm_charges, moved.mm_charges, atol=1e-10)
    np.testing.assert_allclose(frame.positions.mean(axis=0), 0.0, atol=1e-12)


def test_molecules_in_a_frame_are_whole_neutral_and_near(methanol: Assembly) -> None:
    frame = methanol.frame()
    assert frame.n_mm % 3 == 0
    waters = frame.mm_positions.reshape(-1, 3, 3)
    assert np.linalg.norm(waters[:, 1:] - waters[:, :1], axis=-1).max() < 1.2
    np.testing.assert_allclose(frame.mm_charges.reshape(-1, 3).sum(axis=1), 0.0, atol=1e-14)
    nearest = np.linalg.norm(waters.mean(axis=1)[:, None] - frame.positions[None], axis=-1).min(axis=1)
    assert nearest.max() < methanol.cutoff


def test_every_molecule_within_the_cutoff_is_found_in_any_image(methanol: Assembly) -> None:
    assert methanol.box is not None
    centres = methanol.positions[6:].reshape(-1, 3, 3).mean(axis=1)
    images = np.array(list(np.ndindex(3, 3, 3))) - 1
    vectors = (
        centres[:, None, None]
        + (images @ methanol.box)[None, :, None]
        - methanol.positions[methanol.qm_atoms][None, None]
    )
    expected = int((np.linalg.norm(vectors, axis=-1).min(axis=2) < methanol.cutoff).sum())
    assert methanol.frame().n_mm == 3 * expected


def test_a_region_of_two_molecules_is_brought_together_across_the_box_face(methanol: Assembly) -> None:
    assert methanol.box is not None
    waters = methanol.positions[6:].reshape(-1, 3, 3)
    gaps = waters.mean(axis=1) - methanol.positions[:6].mean(axis=0)
    gaps += lattice_translation(gaps, methanol.box)
    pair = np.r_[0:6, 6 + 3 * int(np.linalg.norm(gaps, axis=1).argmin()) + np.arange(3)]
    group = methanol.group.copy()
    group[pair] = -1
    region = methanol.replace(qm_atoms=pair, core=np.zeros(9, dtype=int), group=group, cutoff=4.0, switch_width=1.0)
    far = region.positions.copy()
    far[pair[6:]] += 2 * methanol.box[0] - methanol.box[2]
    np.testing.assert_allclose(region.frame(far, region.box).positions, region.frame().positions, atol=1e-10)


def test_cutoff_beyond_half_the_box_says_how_large_the_box_must_be(methanol: Assembly) -> None:
    with pytest.raises(InputError, match=r"make the box at least 17.*angstrom") as caught:
        methanol.replace(cutoff=7.0).frame()
    assert caught.value.key == "system.cutoff"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-200, 200), min_size=3, max_size=3))
def test_nearest_image_lies_within_half_of_a_triclinic_box(displacement: list[float]) -> None:
    box = np.array([[20.0, 0.0, 0.0], [6.0, 18.0, 0.0], [-5.0, 4.0, 17.0]])
    vector = np.array([displacement])
    translation = lattice_translation(vector, box)
    coefficients = translation @ np.linalg.inv(box)
    np.testing.assert_allclose(coefficients, np.round(coefficients), atol=1e-9)
    assert np.all(np.abs(vector + translation) <= 0.5 * np.diag(box) + 1e-9)


def test_a_broken_chain_is_made_whole_along_its_bonds() -> None:
    chain = np.array([[1.5 * k, 0.0, 0.0] for k in range(9)])  # longer than half the box
    bonds = np.array([[k, k + 1] for k in range(8)])
    box = np.diag([14.0, 14.0, 14.0])
    broken = chain + np.random.default_rng(1).integers(-2, 3, (9, 3)).astype(float) @ box
    healed = whole(broken, box, spanning_tree(9, bonds))
    np.testing.assert_allclose(np.diff(healed, axis=0), np.diff(chain, axis=0), atol=1e-12)
    assert len(set(molecules(9, bonds).tolist())) == 1
