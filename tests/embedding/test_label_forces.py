"""Forces against finite differences of the program's own energy, and against PySCF's gradients."""

import importlib.util

import numpy as np
import pytest
from cheap_level import make_level
from pyscf import mp, qmmm, scf

from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.molecule import build_molecule, point_charges
from aiida_hqe.embedding.numerical import numerical_forces
from aiida_hqe.frames import Frame
from aiida_hqe.units import HARTREE, HARTREE_PER_BOHR


def differences(frame, level, components, step=0.002):
    """Central differences of the environment's energy along some (site, axis), QM atoms first (eV/angstrom)."""
    everywhere = np.vstack([frame.positions, frame.mm_positions])
    found = []
    for component in components:
        energies = []
        for sign in (1, -1):
            moved = everywhere.copy()
            moved[component] += sign * step
            displaced = frame.replace(positions=moved[: frame.n_qm], mm_positions=moved[frame.n_qm :])
            energies.append(solve_environment(displaced, level.environment).energy * HARTREE)
        found.append((energies[1] - energies[0]) / (2 * step))
    return np.array(found)


COMPONENTS = [(0, 2), (1, 1), (3, 0), (6, 2)]


def analytic(frame, level, components):
    forces, mm_forces = solve_environment(frame, level.environment).forces()
    return np.array([np.vstack([forces, mm_forces])[component] for component in components])


@pytest.mark.parametrize("radius", [None, "0.8 angstrom"])
def test_environment_forces_are_the_derivative_of_the_energy(water, radius):
    """Without a grid (Hartree-Fock) to 1e-5 hartree/bohr on atoms and on point or smeared charges."""
    level = make_level(environment={"xc": "hf", "charge_radius": radius})
    expected = differences(water, level, COMPONENTS)
    assert analytic(water, level, COMPONENTS) == pytest.approx(expected, abs=1e-5 * HARTREE_PER_BOHR)


def test_pbe_forces_are_the_derivative_of_the_energy_up_to_the_grid(water):
    """The response of grid level 3 is worth less than 5e-5 hartree/bohr on atoms, and nothing on charges."""
    level = make_level(environment={"grid_level": 3})
    found, expected = analytic(water, level, COMPONENTS), differences(water, level, COMPONENTS)
    assert found[:2] == pytest.approx(expected[:2], abs=5e-5 * HARTREE_PER_BOHR)
    assert found[2:] == pytest.approx(expected[2:], abs=3e-6 * HARTREE_PER_BOHR)


def test_smearing_a_far_charge_changes_nothing(water):
    far = water.replace(mm_positions=np.add(water.mm_positions, [0.0, 0.0, 12.0]))
    point, smeared = (
        solve_environment(far, make_level(environment={"charge_radius": radius}).environment).energy
        for radius in (None, "0.5 angstrom")
    )
    assert smeared == pytest.approx(point, abs=1e-9)


def test_forces_on_atoms_and_charges_balance(water):
    found = label(water, make_level(environment={"xc": "hf"}, embedding={"core_orbitals": [5]}))
    total = np.sum(found.environment_forces, axis=0) + np.sum(found.environment_mm_forces, axis=0)
    assert np.abs(total).max() < 1e-6


def test_forces_of_a_frame_without_charges_have_no_charges(water):
    frame = water.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[])
    found = label(frame, make_level(embedding={"core_orbitals": [5]}))
    assert np.shape(found.environment_forces) == (3, 3)
    assert found.environment_mm_forces == []
    assert found.apply(frame).environment_mm_forces.shape == (0, 3)


def test_forces_of_a_frame_turn_with_it(water):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    level = make_level(environment={"xc": "hf"}, core={"method": "mp2"}, embedding={"core_orbitals": [5]})
    turned = water.replace(positions=water.positions @ turn, mm_positions=water.mm_positions @ turn)
    one, other = label(water, level), label(turned, level)
    assert other.energy == pytest.approx(one.energy, abs=1e-6)
    assert np.array(other.environment_forces) == pytest.approx(np.array(one.environment_forces) @ turn, abs=1e-4)
    assert np.array(other.environment_mm_forces) == pytest.approx(np.array(one.environment_mm_forces) @ turn, abs=1e-5)


@pytest.fixture(scope="module")
def hydrogen() -> Frame:
    """A hydrogen molecule next to one charge, all of it core."""
    return Frame(
        numbers=[1, 1],
        positions=[[0.0, 0.0, 0.0], [0.0, 0.1, 0.76]],
        charge=0,
        spin=0,
        core=[1, 1],
        mm_numbers=[8],
        mm_positions=[[0.3, 1.8, 0.9]],
        mm_charges=[-0.6],
    )


def test_numerical_target_forces_of_everything_are_the_gradient_of_mp2(hydrogen):
    level = make_level(core={"method": "mp2"}, embedding={"core_orbitals": [1]}, forces="numerical")
    found = label(hydrogen, level, threads=1)
    mf = qmmm.mm_charge(scf.RHF(build_molecule(hydrogen, "sto-3g")), *point_charges(hydrogen), unit="Bohr").run()
    expected = -mp.MP2(mf).run().nuc_grad_method().kernel() * HARTREE_PER_BOHR
    assert np.array(found.forces) == pytest.approx(expected, abs=5e-6 * HARTREE_PER_BOHR)
    assert np.sum(found.forces, axis=0) == pytest.approx(-np.array(found.mm_forces[0]), abs=1e-5 * HARTREE_PER_BOHR)


@pytest.mark.slow
def test_displacements_shared_among_processes_give_the_same_forces(hydrogen):
    level = make_level(core={"method": "mp2"}, embedding={"core_orbitals": [1]}, forces="numerical")
    one, two = label(hydrogen, level, threads=1), label(hydrogen, level, threads=2)
    assert np.array(two.forces) == pytest.approx(np.array(one.forces), abs=1e-5)


def test_central_differences_of_a_quadratic_energy_are_exact(hydrogen):
    forces, mm_forces = numerical_forces(
        hydrogen, lambda frame: 0.5 * float(np.sum(frame.positions**2)) + 2.0 * float(np.sum(frame.mm_positions**2))
    )
    assert forces == pytest.approx(-hydrogen.positions, abs=1e-9)
    assert mm_forces == pytest.approx(-4.0 * hydrogen.mm_positions, abs=1e-9)


@pytest.mark.skipif(importlib.util.find_spec("dftd3") is None, reason="needs the extra 'dispersion'")
@pytest.mark.parametrize("kind", ["d3bj", "d4"])
def test_dispersion_is_in_the_environment_and_left_to_the_method_within_a_core(dimer, kind):
    plain = label(dimer, make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5]}))
    level = make_level(environment={"dispersion": kind}, core={"method": "mp2"}, embedding={"core_orbitals": [5]})
    found = label(dimer, level)
    assert found.environment_energy < plain.environment_energy
    assert found.energy < plain.energy
    everything = dimer.replace(core=[1] * 6)
    energies = [
        label(everything, make_level(environment={"dispersion": each}, embedding={"core_orbitals": [10]})).energy
        for each in (None, kind)
    ]
    assert energies[1] == pytest.approx(energies[0], abs=1e-8)
    components = [(0, 2), (4, 1)]
    expected = differences(dimer, level, components) - differences(dimer, make_level(), components)
    gained = np.array(found.environment_forces) - np.array(plain.environment_forces)
    assert np.array([gained[c] for c in components]) == pytest.approx(expected, abs=1e-5)
