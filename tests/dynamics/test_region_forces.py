"""The ML/MM Hamiltonian: its forces are the derivatives of its energy, and the region's own force-field terms are gone."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import unit

from aiida_hqe.dynamics.region import RegionForce, hand_over
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation, build_system
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.units import KJ_PER_MOL, NM

from .conftest import Springs


class Potential:
    """Energy (eV) and forces (eV/angstrom) of a run at positions given in angstrom."""

    def __init__(self, assembly: Assembly, sampling: SamplingSettings, driver: Springs | None) -> None:
        force = None if driver is None else RegionForce(assembly, driver)
        reference = sampling.model_copy(update={"platform": "Reference"})
        self.context = Simulation(assembly, reference, seed=1, force=force).context

    def __call__(self, positions: Floats) -> tuple[float, Floats]:
        self.context.setPositions(positions / NM)
        state = self.context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return energy * KJ_PER_MOL, forces * (KJ_PER_MOL / NM)


def test_forces_are_the_finite_differences_of_the_energy_also_within_the_switch(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs
) -> None:
    potential = Potential(methanol, sampling, springs)
    centre = methanol.positions[methanol.qm_atoms].mean(axis=0)
    charges = methanol.point_charges(methanol.positions, methanol.box)
    ratio = charges.charges / methanol.charges[charges.sites]
    switched = charges.sites[(ratio > 0.2) & (ratio < 0.8)][:3]
    full = charges.sites[ratio == 1.0][:2]
    far = np.setdiff1d(np.arange(6, methanol.n_atoms), charges.sites)[:1]
    assert len(switched) == 3
    assert len(far) == 1
    forces, h = potential(methanol.positions)[1], 1e-4
    for atom in [0, 4, 5, *switched, *full, *far]:
        direction = (methanol.positions[atom] - centre) / np.linalg.norm(methanol.positions[atom] - centre)
        shift = np.zeros_like(methanol.positions)
        shift[atom] = h * direction
        ahead, behind = potential(methanol.positions + shift)[0], potential(methanol.positions - shift)[0]
        assert forces[atom] @ direction == pytest.approx(-(ahead - behind) / (2 * h), abs=2e-6)


def test_energy_has_no_jump_as_a_molecule_leaves_and_equals_the_work_of_its_forces(
    methanol: Assembly, springs: Springs
) -> None:
    region = RegionForce(methanol, springs)
    water = methanol.positions[6:9] - methanol.positions[6:9].mean(axis=0)
    centre = methanol.positions[4] + np.array([0.0, 0.0, 1.0])
    path = np.linspace(4.0, 7.0, 601)
    energies, works = [], []
    for distance in path:
        positions = methanol.positions.copy()
        positions[6:9] = water + centre + [0.0, 0.0, distance - 1.0]
        energy, forces = region.energy_and_forces(positions, methanol.box)
        energies.append(energy)
        works.append(forces[6:9, 2].sum())
    changes, step = np.diff(energies), path[1] - path[0]
    work = -0.5 * (np.array(works[1:]) + np.array(works[:-1])) * step
    assert np.ptp(energies) > 0.005
    np.testing.assert_allclose(changes, work, atol=1e-7)
    assert np.abs(np.diff(works)).max() < 2e-3  # forces are continuous too


def test_net_force_of_the_driver_vanishes(methanol: Assembly, springs: Springs) -> None:
    forces = RegionForce(methanol, springs).energy_and_forces(methanol.positions, methanol.box)[1]
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-10)


def test_energy_is_that_of_the_driver_plus_a_force_field_blind_to_the_region(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs
) -> None:
    """With the methanol displaced inside itself, only the driver and Lennard-Jones with water may change."""
    whole, silent = Potential(methanol, sampling, springs), Springs(methanol.frame().positions, stiffness=0.0)
    silent.charges = np.zeros(6)
    force_field = Potential(methanol, sampling, silent)
    box = methanol.box
    for seed in range(2):
        moved = methanol.positions.copy()
        moved[:6] += 0.05 * np.random.default_rng(seed).normal(size=(6, 3))
        driver = springs.evaluate(methanol.frame(moved, box)).energy
        assert whole(moved)[0] == pytest.approx(driver + force_field(moved)[0], abs=1e-8)
        moved[3] = moved[0] + np.array([0.2, 0.0, 0.0])  # absurd: no bond, angle, torsion or 1-4 term may notice
        forces = force_field(moved)[1]
        assert np.abs(forces[1]).max() < 1.0
        assert np.abs(forces[2]).max() < 1.0


def test_lennard_jones_between_region_and_water_stays_and_electrostatics_go(
    methanol: Assembly, sampling: SamplingSettings
) -> None:
    system = openmm.XmlSerializer.deserialize(methanol.system)
    silent = Springs(methanol.frame().positions)
    hand_over(system, set(range(6)), RegionForce(methanol, silent))
    untouched = openmm.XmlSerializer.deserialize(methanol.system)
    before = _nonbonded(untouched)
    after = _nonbonded(system)
    for k in range(methanol.n_atoms):
        q, sigma, epsilon = after.getParticleParameters(k)
        assert (sigma, epsilon) == tuple(before.getParticleParameters(k)[1:])
        assert q._value == (0.0 if k < 6 else before.getParticleParameters(k)[0]._value)
    inside = [after.getExceptionParameters(k) for k in range(after.getNumExceptions())]
    pairs = {frozenset((i, j)): (q._value, e._value) for i, j, q, _, e in inside if max(i, j) < 6}
    assert len(pairs) == 15
    assert set(pairs.values()) == {(0.0, 0.0)}


def test_region_is_flexible_and_water_rigid_unless_asked_otherwise(
    methanol: Assembly, sampling: SamplingSettings
) -> None:
    waters = (methanol.n_atoms - 6) // 3
    assert build_system(methanol, sampling).getNumConstraints() == 3 * waters
    loose = sampling.model_copy(update={"constraints": "none"})
    assert build_system(methanol, loose).getNumConstraints() == 0


def test_barostat_still_sees_the_region_as_one_molecule(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs
) -> None:
    context = Potential(methanol, sampling, springs).context
    molecules = [sorted(molecule) for molecule in context.getMolecules()]
    assert [0, 1, 2, 3, 4, 5] in molecules
    assert len(molecules) == 1 + (methanol.n_atoms - 6) // 3


def test_an_unknown_kind_of_force_is_refused(methanol: Assembly, springs: Springs) -> None:
    system = openmm.XmlSerializer.deserialize(methanol.system)
    system.addForce(openmm.CustomExternalForce("x"))
    with pytest.raises(InputError, match="got CustomExternalForce"):
        hand_over(system, {0}, RegionForce(methanol, springs))


@pytest.mark.parametrize("kind", ["rb", "cmap", "torsion"])
def test_torsions_inside_the_region_are_silent_and_others_are_not(
    methanol: Assembly, springs: Springs, kind: str
) -> None:
    system = openmm.System()
    for _ in range(10):
        system.addParticle(12.0)
    force: openmm.Force
    if kind == "rb":
        force = openmm.RBTorsionForce()
        for start in (0, 5):
            force.addTorsion(start, start + 1, start + 2, start + 3, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    elif kind == "cmap":
        force = openmm.CMAPTorsionForce()
        force.addMap(4, np.random.default_rng(0).normal(size=16).tolist())
        for start in (0, 5):
            force.addTorsion(0, *(start + k for k in (0, 1, 2, 3, 1, 2, 3, 4)))
    else:
        force = openmm.PeriodicTorsionForce()
        for start in (0, 5):
            force.addTorsion(start, start + 1, start + 2, start + 3, 3, 0.3, 5.0)
    system.addForce(force)
    positions = np.random.default_rng(3).normal(size=(10, 3))
    full = _forces(system, positions)
    hand_over(system, set(range(5)), RegionForce(methanol, springs))
    system.removeForce(1)  # the driver itself
    left = _forces(system, positions)
    assert np.abs(full[:5]).max() > 0.1
    np.testing.assert_allclose(left[:5], 0.0, atol=1e-12)
    np.testing.assert_array_equal(left[5:], full[5:])


def _forces(system: openmm.System, positions: Floats) -> Floats:
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return np.array(context.getState(forces=True).getForces(asNumpy=True)._value)


def _nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    return next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
