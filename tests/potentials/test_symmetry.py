"""Invariances of the energy; round-off of energies of order 1e4 eV in double precision is 1e-11 eV, forces follow within 1e-9."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from potential_cases import SETTINGS, untrained
from scipy.spatial.transform import Rotation

from aiida_hqe.frames import Frame
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.stack import look
from aiida_hqe.potentials.surroundings import Surroundings

ENERGY = 1e-9
FORCE = 1e-9


def test_energy_is_invariant_and_forces_rotate_with_the_frame(committee: Committee, frame: Frame) -> None:
    rotation, shift = Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix(), np.array([3.0, -20.0, 7.0])
    moved = frame.replace(
        positions=frame.positions @ rotation.T + shift, mm_positions=frame.mm_positions @ rotation.T + shift
    )
    one, other = committee.predict(frame), committee.predict(moved)
    np.testing.assert_allclose(other.energies, one.energies, atol=ENERGY, rtol=0)
    np.testing.assert_allclose(other.forces, one.forces @ rotation.T, atol=FORCE, rtol=0)
    np.testing.assert_allclose(other.mm_forces, one.mm_forces @ rotation.T, atol=FORCE, rtol=0)


def test_mirror_image_has_the_same_energy(committee: Committee, frame: Frame) -> None:
    mirror = np.diag([1.0, 1.0, -1.0])
    image = frame.replace(positions=frame.positions @ mirror, mm_positions=frame.mm_positions @ mirror)
    np.testing.assert_allclose(
        committee.predict(image).energies, committee.predict(frame).energies, atol=ENERGY, rtol=0
    )


def test_order_of_atoms_and_charges_does_not_matter(committee: Committee, frame: Frame) -> None:
    generator = np.random.default_rng(3)
    qm, mm = generator.permutation(frame.n_qm), generator.permutation(frame.n_mm)
    shuffled = frame.replace(
        numbers=frame.numbers[qm],
        positions=frame.positions[qm],
        mm_numbers=frame.mm_numbers[mm],
        mm_positions=frame.mm_positions[mm],
        mm_charges=frame.mm_charges[mm],
    )
    one, other = committee.predict(frame), committee.predict(shuffled)
    np.testing.assert_allclose(other.energies, one.energies, atol=ENERGY, rtol=0)
    np.testing.assert_allclose(other.forces, one.forces[:, qm], atol=FORCE, rtol=0)
    np.testing.assert_allclose(other.mm_forces, one.mm_forces[:, mm], atol=FORCE, rtol=0)


def test_total_force_and_torque_on_qm_atoms_and_charges_vanish(committee: Committee, frame: Frame) -> None:
    found = committee.predict(frame)
    forces = np.concatenate([found.forces, found.mm_forces], axis=1)
    places = np.concatenate([frame.positions, frame.mm_positions]) - frame.positions.mean(axis=0)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(forces.sum(axis=1)).max() < FORCE
    assert np.abs(np.cross(places, forces).sum(axis=1)).max() < 10 * FORCE


@pytest.mark.parametrize("charge", [-1, 0, 2])
def test_latent_charges_add_up_to_the_total_charge(charge: int, frame: Frame) -> None:
    network = build(SETTINGS, charge, seed=4).double()
    inputs = (torch.tensor(array)[None] for array in look(frame, SETTINGS).inputs(frame))
    charges = network.latent_charges(torch.tensor(frame.numbers), *inputs)
    assert float(charges.sum()) == pytest.approx(charge, abs=1e-12)
    assert float(charges.std()) > 1e-3


@pytest.mark.parametrize(("charge", "spin"), [(0, 0), (1, 1)])
def test_a_constant_potential_adds_the_total_charge_times_it(charge: int, spin: int, frame: Frame) -> None:
    network = build(SETTINGS, charge, seed=4).double()
    positions, potential, *rest = (torch.tensor(array)[None] for array in look(frame, SETTINGS).inputs(frame))
    numbers = torch.tensor(frame.numbers)
    change = network(numbers, positions, potential + 0.8, *rest) - network(numbers, positions, potential, *rest)
    assert float(change) == pytest.approx(0.8 * charge, abs=1e-10)


def test_no_charges_and_charges_of_zero_are_the_same_isolated_molecule(committee: Committee, frame: Frame) -> None:
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    isolated = committee.predict(frame.replace(**nothing))
    discharged = committee.predict(frame.replace(mm_charges=np.zeros(frame.n_mm)))
    np.testing.assert_array_equal(isolated.energies, discharged.energies)
    np.testing.assert_array_equal(isolated.forces, discharged.forces)
    assert np.abs(discharged.mm_forces).max() == 0.0
    assert isolated.mm_forces.shape == (3, 0, 3)


def test_distant_charges_act_like_none(committee: Committee, frame: Frame) -> None:
    direction = frame.mm_positions - frame.positions.mean(axis=0)
    far = frame.replace(mm_positions=frame.positions.mean(axis=0) + 1e9 * direction)
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    expected = committee.predict(frame.replace(**nothing)).energies
    np.testing.assert_allclose(committee.predict(far).energies, expected, atol=1e-6, rtol=0)


def test_blind_network_does_not_see_the_charges(frame: Frame) -> None:
    blind = untrained(2, settings=SETTINGS.model_copy(update={"environment": "blind"}))
    found = blind.predict(frame)
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    np.testing.assert_array_equal(found.energies, blind.predict(frame.replace(**nothing)).energies)
    assert np.abs(found.mm_forces).max() == 0.0


def test_a_single_atom_has_an_energy_and_feels_the_field() -> None:
    atom = Frame(
        numbers=[8], positions=[[0.0, 0.0, 0.0]], charge=0, spin=0, mm_numbers=[11], mm_positions=[[0.0, 0.0, 3.0]],
        mm_charges=[1.0],
    )  # fmt: skip
    found = untrained(2).predict(atom)
    assert np.isfinite(found.energies).all()
    np.testing.assert_allclose(found.forces[:, 0], -found.mm_forces[:, 0], atol=FORCE)
    assert np.abs(found.forces[:, 0, :2]).max() < FORCE


def test_potential_and_field_of_charges_are_coulombs(frame: Frame) -> None:
    found = Surroundings.of(frame)
    expected = 0.0
    for position, charge in zip(frame.mm_positions, frame.mm_charges, strict=True):
        expected += 14.399645 * charge / np.linalg.norm(frame.positions[1] - position)
    assert found.potential[1] == pytest.approx(expected, rel=1e-6)
    assert np.abs(np.trace(found.gradient, axis1=1, axis2=2)).max() < 1e-10  # Laplace: no charge at the QM atoms
