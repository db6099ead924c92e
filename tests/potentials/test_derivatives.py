"""Forces and dE/dq are the exact derivatives of the energy.

Central differences with step h = 3e-5 angstrom. Round-off: energies of order 1e4 eV are known to 2e-12 eV, 1e-7 after division by
2 h. Truncation: h^2 f''' / 6 with f''' of up to 1e3 eV/angstrom^3 where an untrained network is rough, 2e-7. Asked for: 1e-6.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from potential_cases import untrained

from aiida_hqe.frames import Frame
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.settings import PotentialSettings

STEP = 3e-5
TOLERANCE = 1e-6


def energies(committee: Committee, frame: Frame) -> np.ndarray:
    found = committee.predict(frame)
    return np.array([found.environment_energies, found.energies])


def slope(committee: Committee, frame: Frame, name: str, index: tuple[int, ...]) -> np.ndarray:
    """Derivative (2, K) of the energies of both levels with respect to one entry of one array of the frame."""
    ends = []
    for sign in (1, -1):
        array = np.array(getattr(frame, name))
        array[index] += sign * STEP
        ends.append(energies(committee, frame.replace(**{name: array})))
    return (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_forces_on_qm_atoms_are_minus_the_gradient_of_every_member_at_both_levels(learn: str, frame: Frame) -> None:
    committee = untrained(3, learn)
    found = committee.predict(frame)
    for index in np.ndindex(frame.positions.shape):
        expected = -slope(committee, frame, "positions", index)
        got = [found.environment_forces[:, *index], found.forces[:, *index]]
        assert np.abs(expected - got).max() < TOLERANCE


def test_forces_on_point_charges_are_minus_the_gradient_of_every_member_at_both_levels(
    committee: Committee, frame: Frame
) -> None:
    found = committee.predict(frame)
    assert np.abs(found.mm_forces).max() > 1e3 * TOLERANCE
    for index in [(m, m % 3) for m in range(frame.n_mm)]:
        expected = -slope(committee, frame, "mm_positions", index)
        got = [found.environment_mm_forces[:, *index], found.mm_forces[:, *index]]
        assert np.abs(expected - got).max() < TOLERANCE


def test_charge_gradient_is_the_derivative_of_the_mean_energy(committee: Committee, frame: Frame) -> None:
    gradient = committee.evaluate(frame).charge_gradient
    expected = [slope(committee, frame, "mm_charges", (m,))[1].mean() for m in range(frame.n_mm)]
    assert np.abs(gradient - expected).max() < TOLERANCE
    assert np.abs(gradient).max() > 1e3 * TOLERANCE


@pytest.mark.parametrize("changes", [{"latent_charges": False}, {"environment": "blind"}])
def test_forces_are_exact_without_latent_charges_and_without_surroundings(
    changes: dict[str, str], frame: Frame
) -> None:
    settings = PotentialSettings(features=8, interactions=1, radial_functions=8, **changes)
    committee = untrained(2, settings=settings)
    found = committee.predict(frame)
    for index in [(0, 0), (2, 1), (5, 2)]:
        assert np.abs(slope(committee, frame, "positions", index)[1] + found.forces[:, *index]).max() < TOLERANCE
    for index in [(0, 0), (7, 1)]:
        assert np.abs(slope(committee, frame, "mm_positions", index)[1] + found.mm_forces[:, *index]).max() < TOLERANCE


def test_mean_and_disagreement_of_evaluate_are_those_of_the_members(committee: Committee, frame: Frame) -> None:
    found, members = committee.evaluate(frame), committee.predict(frame)
    assert found.energy == pytest.approx(members.energy, abs=1e-9)
    np.testing.assert_allclose(found.forces, members.mean_forces, atol=1e-12)
    np.testing.assert_allclose(found.mm_forces, members.mean_mm_forces, atol=1e-12)
    assert committee.force_level == "environment"
    qm = members.environment_forces - members.environment_forces.mean(axis=0)
    mm = members.environment_mm_forces - members.environment_mm_forces.mean(axis=0)
    deviations = np.sqrt(((qm**2).sum(axis=(1, 2)) + (mm**2).sum(axis=(1, 2))) / frame.n_qm)
    np.testing.assert_allclose(found.member_deviations, deviations, rtol=1e-10)
    assert found.disagreement == pytest.approx(np.sqrt((deviations**2).sum() / 2), rel=1e-10)
    assert found.energy_disagreement == pytest.approx(members.energies.std(ddof=1), rel=1e-10)


def test_a_potential_that_is_made_and_evaluated_warns_of_nothing(frame: Frame) -> None:
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("error", kind)
        assert np.isfinite(untrained(2).evaluate(frame).energy)
