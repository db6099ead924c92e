"""Every representation, with potential and field or with MM atoms as elements: exact, invariant, the same from a file.

Tolerances as in `test_derivatives` and `test_symmetry`, with a smaller step for networks that are rougher.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from potential_cases import untrained
from scipy.spatial.transform import Rotation

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.representations import LMAX, couplings, harmonics
from aiida_hqe.potentials.schnetpack_parts import RealSphericalHarmonics, generate_clebsch_gordan_rsh
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import look
from aiida_hqe.potentials.surroundings import Nearby

STEP, TOLERANCE, ENERGY, FORCE = 1e-5, 1e-6, 1e-9, 1e-9

CASES = [
    ("painn", "potential-field"),
    ("fieldschnet", "potential-field"),
    ("so3net", "potential-field"),
    ("painn", "mm-elements"),
    pytest.param(("fieldschnet", "mm-elements"), marks=pytest.mark.slow),
    pytest.param(("so3net", "mm-elements"), marks=pytest.mark.slow),
]


def settings_of(case: tuple[str, str]) -> PotentialSettings:
    changes = {"representation": case[0], "environment": case[1]}
    return PotentialSettings(features=4, interactions=2, radial_functions=6, cutoff="3.5 angstrom", **changes)


@pytest.fixture(params=CASES, ids=str, scope="module")
def settings(request: pytest.FixtureRequest) -> PotentialSettings:
    return settings_of(request.param)


@pytest.fixture(scope="module")
def kind(settings: PotentialSettings) -> Committee:
    """Two untrained members of this kind, the target level a difference."""
    return untrained(2, settings=settings)


def slope(kind: Committee, frame: Frame, name: str, index: tuple[int, ...]) -> np.ndarray:
    """Derivative (K,) of the members' energies with respect to one entry of one array of the frame."""
    ends = []
    for sign in (1, -1):
        array = np.array(getattr(frame, name))
        array[index] += sign * STEP
        ends.append(kind.predict(frame.replace(**{name: array})).energies)
    return (ends[0] - ends[1]) / (2 * STEP)


def test_forces_and_charge_gradient_are_the_derivatives_of_the_energy(kind: Committee, frame: Frame) -> None:
    found = kind.predict(frame)
    for index in np.ndindex(frame.positions.shape):
        assert np.abs(slope(kind, frame, "positions", index) + found.forces[:, *index]).max() < TOLERANCE
    nearest = np.linalg.norm(frame.mm_positions[:, None] - frame.positions, axis=-1).min(axis=1).argsort()
    assert np.abs(found.mm_forces[:, nearest[:3]]).max() > 1e3 * TOLERANCE
    gradient = kind.evaluate(frame).charge_gradient
    for m in (*nearest[:6], nearest[-1]):
        assert np.abs(slope(kind, frame, "mm_positions", (m, 1)) + found.mm_forces[:, m, 1]).max() < TOLERANCE
        assert slope(kind, frame, "mm_charges", (m,)).mean() == pytest.approx(gradient[m], abs=TOLERANCE, rel=1e-7)


def test_energy_is_invariant_under_rotation_reflection_translation_and_order(kind: Committee, frame: Frame) -> None:
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix() @ np.diag([1.0, -1.0, 1.0])
    generator = np.random.default_rng(3)
    qm, mm = generator.permutation(frame.n_qm), generator.permutation(frame.n_mm)
    moved = frame.replace(
        numbers=frame.numbers[qm],
        positions=frame.positions[qm] @ turn.T + [3.0, -20.0, 7.0],
        mm_numbers=frame.mm_numbers[mm],
        mm_positions=frame.mm_positions[mm] @ turn.T + [3.0, -20.0, 7.0],
        mm_charges=frame.mm_charges[mm],
    )
    one, other = kind.predict(frame), kind.predict(moved)
    np.testing.assert_allclose(other.energies, one.energies, atol=ENERGY, rtol=0)
    np.testing.assert_allclose(other.forces, one.forces[:, qm] @ turn.T, atol=FORCE, rtol=0)
    np.testing.assert_allclose(other.mm_forces, one.mm_forces[:, mm] @ turn.T, atol=FORCE, rtol=0)


def test_total_force_and_torque_vanish(kind: Committee, frame: Frame) -> None:
    found = kind.predict(frame)
    forces = np.concatenate([found.forces, found.mm_forces], axis=1)
    places = np.concatenate([frame.positions, frame.mm_positions]) - frame.positions.mean(axis=0)
    assert np.abs(forces.sum(axis=1)).max() < FORCE
    assert np.abs(np.cross(places, forces).sum(axis=1)).max() < 10 * FORCE


@pytest.mark.parametrize("charge", [-1, 2])
def test_latent_charges_add_up_to_the_total_charge(charge: int, settings: PotentialSettings, frame: Frame) -> None:
    network = build(settings, charge, seed=4).double()
    surroundings = look(frame, settings)
    inputs = [torch.tensor(array)[None] for array in surroundings.inputs(frame)]
    if surroundings.nearby is not None:
        inputs.append(torch.tensor(surroundings.nearby.numbers)[None])
    charges = network.latent_charges(torch.tensor(frame.numbers), *inputs)
    assert float(charges.detach().sum()) == pytest.approx(charge, abs=1e-12)


def test_file_gives_back_the_same_predictions(kind: Committee, frame: Frame, tmp_path: Path) -> None:
    kind.save(tmp_path / "one.safetensors")
    again = Committee.load(tmp_path / "one.safetensors")
    assert again.settings == kind.settings
    np.testing.assert_array_equal(again.predict(frame).forces, kind.predict(frame).forces)
    np.testing.assert_array_equal(again.predict(frame).mm_forces, kind.predict(frame).mm_forces)


def test_the_field_matters(kind: Committee, frame: Frame) -> None:
    """A field without a potential at the atoms, as MM atoms or as such, changes the energy beyond latent charges."""
    bare = untrained(1, settings=kind.settings.model_copy(update={"latent_charges": False}))
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    assert abs(bare.predict(frame).energy - bare.predict(frame.replace(**nothing)).energy) > 1e-4


def test_one_recorded_graph_serves_frames_with_other_geometry(kind: Committee, methanol: Frames) -> None:
    kind.predict(methanol[0])
    fresh = kind.replace()
    np.testing.assert_allclose(kind.predict(methanol[1]).forces, fresh.predict(methanol[1]).forces, atol=1e-11)


@pytest.fixture(scope="module")
def elements() -> Committee:
    """A network without latent charges, to which only the MM atoms nearby are there."""
    return untrained(2, settings=settings_of(("painn", "mm-elements")).model_copy(update={"latent_charges": False}))


def alone(frame: Frame, distance: float, charge: float = 0.5, number: int = 8) -> Frame:
    """One MM atom at this distance from the outermost QM atom, farther from all others."""
    centre = frame.positions.mean(axis=0)
    outermost = max(frame.positions - centre, key=np.linalg.norm)
    place = centre + outermost * (1.0 + distance / np.linalg.norm(outermost))
    return frame.replace(mm_numbers=[number], mm_positions=[place], mm_charges=[charge])


def test_an_mm_atom_out_of_reach_or_without_charge_contributes_nothing(elements: Committee, frame: Frame) -> None:
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    isolated = elements.predict(frame.replace(**nothing)).energies
    np.testing.assert_allclose(elements.predict(alone(frame, 3.6)).energies, isolated, atol=ENERGY, rtol=0)
    np.testing.assert_allclose(elements.predict(alone(frame, 2.0, charge=0.0)).energies, isolated, atol=ENERGY, rtol=0)
    assert np.abs(elements.predict(alone(frame, 2.0)).energies - isolated).min() > 1e-5


def test_energy_is_continuous_where_an_mm_atom_enters_and_where_its_charge_is_switched_on(
    elements: Committee, frame: Frame
) -> None:
    inside, outside = elements.predict(alone(frame, 3.4999)), elements.predict(alone(frame, 3.5001))
    np.testing.assert_allclose(inside.energies, outside.energies, atol=1e-7, rtol=0)
    np.testing.assert_allclose(inside.forces, outside.forces, atol=1e-3)
    off, hardly = elements.predict(alone(frame, 2.5, charge=0.0)), elements.predict(alone(frame, 2.5, charge=1e-9))
    np.testing.assert_allclose(off.energies, hardly.energies, atol=1e-7, rtol=0)


def test_mm_atoms_are_told_apart_by_their_element_and_from_qm_atoms(elements: Committee, frame: Frame) -> None:
    energies = [elements.predict(alone(frame, 2.0, number=number)).energies[0] for number in (1, 8)]
    assert abs(energies[0] - energies[1]) > 1e-6


def test_spherical_harmonics_are_those_of_schnetpack() -> None:
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    np.testing.assert_allclose(harmonics(directions), RealSphericalHarmonics(LMAX)(directions), atol=2e-6)


def test_couplings_are_those_of_schnetpack_that_conserve_parity() -> None:
    degrees = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
    even = (degrees[:, None, None] + degrees[:, None] + degrees) % 2 == 0
    expected = np.where(even, generate_clebsch_gordan_rsh(LMAX), 0.0)
    np.testing.assert_allclose(couplings(), expected, atol=1e-6)


def test_room_for_charges_grows_in_steps(frame: Frame) -> None:
    near = Nearby.of(frame, 3.5)
    assert len(near.charges) % 16 == 0
    assert 0 < len(near.sites) <= len(near.charges)
    np.testing.assert_array_equal(near.charges[len(near.sites) :], 0.0)
