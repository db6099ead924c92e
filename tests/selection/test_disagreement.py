"""Disagreement is a spread of vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aiida_hqe.errors import InputError
from aiida_hqe.selection.disagreement import (
    energy_disagreement,
    force_disagreement,
    force_norm,
    member_deviations,
    per_atom,
)

RNG = np.random.default_rng(1)
FORCES, MM_FORCES = RNG.normal(size=(4, 3, 3)), RNG.normal(size=(4, 7, 3))
NONE = np.zeros((2, 0, 3))


def test_opposite_forces_do_not_count_as_agreement() -> None:
    forces = np.array([[[1.0, 2.0, 2.0]], [[-1.0, -2.0, -2.0]]])
    np.testing.assert_allclose(np.linalg.norm(forces, axis=-1), 3.0)  # equal norms
    assert force_disagreement(forces, NONE) == pytest.approx(3.0 * np.sqrt(2))
    assert per_atom(forces) == pytest.approx([3.0 * np.sqrt(2)])


def test_equal_members_do_not_disagree() -> None:
    assert force_disagreement(np.ones((4, 2, 3)), np.ones((4, 5, 3))) == 0.0
    assert energy_disagreement(np.ones(4)) == 0.0


def test_disagreement_of_one_component_is_its_sample_deviation() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    forces = np.zeros((4, 1, 3))
    forces[:, 0, 1] = values
    assert force_disagreement(forces, np.zeros((4, 0, 3))) == pytest.approx(values.std(ddof=1))
    assert energy_disagreement(values) == pytest.approx(values.std(ddof=1))


def test_members_deviations_add_up_to_the_disagreement() -> None:
    deviations = member_deviations(FORCES, MM_FORCES)
    expected = [force_norm(f, m) for f, m in zip(FORCES - FORCES.mean(0), MM_FORCES - MM_FORCES.mean(0), strict=True)]
    np.testing.assert_allclose(deviations, expected)
    assert force_disagreement(FORCES, MM_FORCES) == pytest.approx(np.sqrt((deviations**2).sum() / 3))


def test_atoms_add_up_to_the_disagreement() -> None:
    atoms, charges = per_atom(FORCES), per_atom(MM_FORCES)
    assert force_disagreement(FORCES, MM_FORCES) == pytest.approx(np.sqrt(((atoms**2).sum() + (charges**2).sum()) / 3))


def test_disagreement_does_not_change_when_the_frame_rotates_or_members_swap() -> None:
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    expected = force_disagreement(FORCES, MM_FORCES)
    assert force_disagreement(FORCES @ turn.T, MM_FORCES @ turn.T) == pytest.approx(expected, rel=1e-13)
    assert force_disagreement(FORCES[::-1], MM_FORCES[::-1]) == pytest.approx(expected, rel=1e-13)


def test_forces_common_to_all_members_do_not_matter() -> None:
    moved = force_disagreement(FORCES + RNG.normal(size=(3, 3)), MM_FORCES)
    assert moved == pytest.approx(force_disagreement(FORCES, MM_FORCES), rel=1e-12)


def test_charges_on_which_members_agree_leave_it_unchanged_but_others_count() -> None:
    far = np.concatenate([MM_FORCES, np.zeros((4, 500, 3))], axis=1)
    assert force_disagreement(FORCES, far) == pytest.approx(force_disagreement(FORCES, MM_FORCES))
    assert force_disagreement(FORCES, MM_FORCES) > force_disagreement(FORCES, np.zeros((4, 0, 3)))


def test_norm_is_intensive_in_the_qm_region() -> None:
    forces, mm_forces = FORCES[0], MM_FORCES[0]
    twice = force_norm(np.concatenate([forces, forces]), np.concatenate([mm_forces, mm_forces]))
    assert twice == pytest.approx(force_norm(forces, mm_forces))


def test_one_member_is_no_committee() -> None:
    with pytest.raises(InputError, match="at least two members"):
        force_disagreement(FORCES[:1], MM_FORCES[:1])
    with pytest.raises(InputError, match="at least two members"):
        energy_disagreement(np.ones(1))
    with pytest.raises(InputError, match="at least two members"):
        per_atom(FORCES[:1])


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (3,)])
def test_a_wrong_shape_is_explained(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="must have shape"):
        force_disagreement(np.zeros(shape), MM_FORCES)
    with pytest.raises(InputError, match="same members"):
        force_disagreement(FORCES, MM_FORCES[:3])
