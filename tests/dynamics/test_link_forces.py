"""ML/MM dynamics with a link atom: forces are derivatives for every atom about the boundary, nothing is counted twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import pytest
from openmm import unit
from small_systems import TEMPLATES

from aiida_hqe.dynamics.prepare import prepare
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.sample import sample
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation, build_system
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build
from aiida_hqe.units import KJ_PER_MOL, NM

from .conftest import Springs

CA, CB, OG, HG = 8, 10, 13, 14
SIDE = [10, 11, 12, 13, 14]
CHARGES = np.array([0.1, 0.05, 0.05, -0.6, 0.4, 0.0])


def blocked_serine(**changes: Any) -> Assembly:
    entries = {
        "topology": "peptide.pdb",
        "forcefield": ["amber14/protein.ff14SB.xml", "amber14/tip3p.xml"],
        "qm": {"atoms": SIDE},
        "charge": 0,
        "cutoff": "5 angstrom",
        "switch_width": "2.5 angstrom",
    }
    return build(SystemSettings(**(entries | changes)), TEMPLATES / "peptide")


@pytest.fixture(scope="module")
def serine() -> Assembly:
    """Blocked serine in vacuum, its side chain QM; the other residues are within the switch."""
    return blocked_serine()


@pytest.fixture(scope="module")
def loose(sampling: SamplingSettings) -> SamplingSettings:
    """No constraints, on the platform of double precision."""
    return sampling.model_copy(update={"constraints": "none", "platform": "Reference"})


def driver_of(assembly: Assembly, stiffness: float = 15.0, charges: Floats = CHARGES) -> Springs:
    springs = Springs(assembly.frame().positions, stiffness)
    springs.charges = charges
    return springs


def evaluate(context: openmm.Context, positions: Floats) -> tuple[float, Floats]:
    """Energy (eV) and forces (eV/angstrom)."""
    context.setPositions(positions / NM)
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return state.getPotentialEnergy()._value * KJ_PER_MOL, forces * (KJ_PER_MOL / NM)


def shaken(assembly: Assembly, seed: int = 0) -> Floats:
    return assembly.positions + np.random.default_rng(seed).normal(scale=0.05, size=assembly.positions.shape)


def test_forces_on_every_atom_about_the_boundary_are_finite_differences_of_the_energy(
    serine: Assembly, loose: SamplingSettings
) -> None:
    context = Simulation(serine, loose, seed=1, force=RegionForce(serine, driver_of(serine))).context
    positions, h = shaken(serine), 1e-4
    charges = serine.point_charges(positions, None)
    ratio = charges.charges / serine.boundary.charges(serine.charges)[charges.sites]
    assert ((ratio > 0.1) & (ratio < 0.9)).sum() >= 3  # some residue is being switched
    forces, numerical = evaluate(context, positions)[1], np.zeros_like(positions)
    for index in np.ndindex(*positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = h
        ahead, behind = evaluate(context, positions + shift)[0], evaluate(context, positions - shift)[0]
        numerical[index] = (behind - ahead) / (2 * h)
    assert np.abs(forces[[CA, CB]]).max() > 0.5
    np.testing.assert_allclose(forces, numerical, rtol=0, atol=2e-6)


def test_total_force_and_torque_vanish_in_vacuum(serine: Assembly, loose: SamplingSettings) -> None:
    region = RegionForce(serine, driver_of(serine))
    context = Simulation(serine, loose, seed=1, force=region).context
    positions = shaken(serine, 1)
    for forces in (region.energy_and_forces(positions, None)[1], evaluate(context, positions)[1]):
        scale = np.abs(forces).max()
        assert scale > 0.5
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, rtol=0, atol=1e-10 * scale)
        torque = np.cross(positions, forces)
        np.testing.assert_allclose(torque.sum(axis=0), 0.0, rtol=0, atol=1e-10 * np.abs(torque).max())


def silent(assembly: Assembly, loose: SamplingSettings) -> openmm.System:
    """The force field as it is left to a region whose driver is silent."""
    driver = driver_of(assembly, stiffness=0.0, charges=np.zeros(6))
    return build_system(assembly, loose, RegionForce(assembly, driver))


def part(system: openmm.System, kind: type) -> Any:
    return next(force for force in system.getForces() if isinstance(force, kind))


def terms(system: openmm.System) -> dict[str, list[tuple[set[int], float]]]:
    """Atoms and force constant of every bonded term, by kind."""
    bonds, angles = part(system, openmm.HarmonicBondForce), part(system, openmm.HarmonicAngleForce)
    torsions = part(system, openmm.PeriodicTorsionForce)
    found = {
        "bond": [bonds.getBondParameters(k) for k in range(bonds.getNumBonds())],
        "angle": [angles.getAngleParameters(k) for k in range(angles.getNumAngles())],
        "torsion": [torsions.getTorsionParameters(k) for k in range(torsions.getNumTorsions())],
    }
    sizes = {"bond": 2, "angle": 3, "torsion": 4}
    return {
        kind: [(set(entry[: sizes[kind]]), float(entry[-1]._value)) for entry in entries]
        for kind, entries in found.items()
    }


@pytest.mark.parametrize("kind", ["bond", "angle", "torsion"])
def test_the_driver_has_what_the_capped_molecule_has_and_the_force_field_the_rest(
    serine: Assembly, loose: SamplingSettings, kind: str
) -> None:
    before = terms(openmm.XmlSerializer.deserialize(serine.system))[kind]
    after = terms(silent(serine, loose))[kind]
    region, dropped, kept = set(SIDE), 0, 0
    for (atoms, strength), (same, left) in zip(before, after, strict=True):
        assert atoms == same
        capped = bool(atoms & region) and atoms <= region | {CA} and atoms != {CA, CB}
        assert left == (0.0 if capped else strength)
        dropped += capped and strength != 0.0
        kept += bool(atoms & region) and not capped and strength != 0.0
    assert dropped > 0
    assert kept > 0  # bond: the cut one alone


def test_the_length_of_the_cut_bond_costs_what_the_force_field_says(serine: Assembly, loose: SamplingSettings) -> None:
    """The link atom does not follow the length of the bond: no part of its stiffness comes from the driver."""
    whole = RegionForce(serine, driver_of(serine, charges=np.zeros(6)))
    direction = serine.positions[CA] - serine.positions[CB]
    direction /= np.linalg.norm(direction)
    rest = np.setdiff1d(np.arange(serine.n_atoms), SIDE)
    energies = []
    for stretch in (-0.05, 0.0, 0.05):
        moved = serine.positions.copy()
        moved[rest] += stretch * direction
        energies.append(whole.energy_and_forces(moved, None)[0])
    assert max(energies) < 1e-20
    turned = serine.positions.copy()
    turned[CA] += 0.1 * np.cross(direction, [0.0, 0.0, 1.0])
    assert whole.energy_and_forces(turned, None)[0] > 1e-3  # angles are the driver's


def test_no_charge_of_the_region_is_left_and_hosts_balance_it(serine: Assembly, loose: SamplingSettings) -> None:
    systems = openmm.XmlSerializer.deserialize(serine.system), silent(serine, loose)
    before, after = (part(system, openmm.NonbondedForce) for system in systems)
    charges = np.array([after.getParticleParameters(k)[0]._value for k in range(serine.n_atoms)])
    expected = serine.charges.copy()
    expected[CA] += serine.charges[SIDE].sum()
    expected[SIDE] = 0.0
    np.testing.assert_allclose(charges, expected, rtol=0, atol=1e-12)
    assert charges.sum() == pytest.approx(0.0, abs=1e-6)
    scaled = {}
    for force in (before, after):
        for k in range(force.getNumExceptions()):
            i, j, product, _, epsilon = force.getExceptionParameters(k)
            scaled.setdefault(frozenset((i, j)), []).append((product._value, epsilon._value))
    across = {pair: values for pair, values in scaled.items() if len(pair & set(SIDE)) == 1}
    assert any(values[0][0] != 0.0 for values in across.values())
    for first, last in across.values():
        assert last == (0.0, first[1])  # Lennard-Jones 1-4 terms stay
    inside = {pair: values[-1] for pair, values in scaled.items() if pair <= set(SIDE)}
    assert set(inside.values()) == {(0.0, 0.0)}


def test_energy_has_no_jump_as_a_residue_leaves(serine: Assembly) -> None:
    """NME is pulled away from the region, through the switch: forces are continuous and do the work of the energy."""
    region = RegionForce(serine, driver_of(serine))
    tail = np.arange(17, 23)
    direction = serine.positions[tail].mean(axis=0) - serine.positions[SIDE].mean(axis=0)
    direction /= np.linalg.norm(direction)
    energies, works, counts, path = [], [], set(), np.linspace(-1.0, 4.0, 501)
    for shift in path:
        moved = serine.positions.copy()
        moved[tail] += shift * direction
        energy, forces = region.energy_and_forces(moved, None)
        energies.append(energy)
        works.append(float((forces[tail] @ direction).sum()))
        counts.add(len(serine.point_charges(moved, None).sites))
    assert len(counts) == 2  # with and without the residue
    assert np.ptp(energies) > 0.005
    step = path[1] - path[0]
    work = -0.5 * (np.array(works[1:]) + np.array(works[:-1])) * step
    np.testing.assert_allclose(np.diff(energies), work, rtol=0, atol=1e-6)
    assert np.abs(np.diff(works)).max() < 5e-3


def test_molecules_of_the_barostat_stay_whole(serine: Assembly, loose: SamplingSettings) -> None:
    context = Simulation(serine, loose, seed=1, force=RegionForce(serine, driver_of(serine))).context
    assert [sorted(molecule) for molecule in context.getMolecules()] == [list(range(23))]


def total_energies(assembly: Assembly, sampling: SamplingSettings, driver: Springs | None, chunks: int) -> Floats:
    """Total energy (eV) along an NVE run, every 20 steps."""
    force = None if driver is None else RegionForce(assembly, driver)
    run = Simulation(assembly, sampling.model_copy(update={"ensemble": "nve"}), seed=3, force=force)
    energies = []
    for _ in range(chunks):
        run.step(20)
        state = run.context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
    return np.array(energies) * KJ_PER_MOL


def test_dynamics_across_the_boundary_conserve_energy_and_not_without_the_projection(
    serine: Assembly, loose: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = driver_of(serine)
    warm = sample(serine, loose.model_copy(update={"friction": 0.01}), driver, seed=5, steps=300, interval=300).assembly
    field = np.ptp(total_energies(warm, loose, None, 30))
    driven = np.ptp(total_energies(warm, loose, driver, 30))
    assert driven < 2.0 * field
    from aiida_hqe.qmmm.boundary import Boundary

    whole = Boundary.project

    def lost(self: Boundary, forces: Floats, positions: Floats) -> Floats:
        forces = forces.copy()
        forces[len(positions) : len(positions) + len(self.links)] = 0.0
        return whole(self, forces, positions)

    monkeypatch.setattr(Boundary, "project", lost)
    assert np.ptp(total_energies(warm, loose, driver, 30)) > 10.0 * driven


@pytest.mark.slow
def test_in_water_energy_drifts_no_more_than_with_the_force_field(sampling: SamplingSettings) -> None:
    wet = prepare(blocked_serine(solvate={"box": "20 angstrom"}, cutoff="6 angstrom"), sampling, seed=1)
    driver = driver_of(wet)
    relaxed = sample(wet, sampling, driver, seed=5, steps=400, interval=400).assembly
    time = np.arange(80) * 20 * sampling.timestep * 1e-3

    def drift(assembly: Assembly, of: Springs | None) -> tuple[float, float, float]:
        energies = 1e3 * total_energies(assembly, sampling, of, 80)
        (slope, offset), covariance = np.polyfit(time, energies, 1, cov=True)
        return slope, float(np.sqrt(covariance[0, 0])), float(np.std(energies - slope * time - offset))

    field, _, field_noise = drift(wet, None)
    driven, error, noise = drift(relaxed, driver)
    print(
        f"meV/ps: force field {field:.2f}, driven {driven:.2f} +- {error:.2f}; noise {field_noise:.2f}, {noise:.2f} meV"
    )
    assert noise < 2.0 * field_noise
    assert abs(driven) < 2.0 * abs(field) + 3.0 * error


@pytest.mark.slow
def test_constant_pressure_keeps_the_boundary_in_one_piece(sampling: SamplingSettings) -> None:
    wet = prepare(blocked_serine(solvate={"box": "20 angstrom"}, cutoff="6 angstrom"), sampling, seed=1)
    assert wet.box is not None
    across = wet.replace(positions=wet.positions + 0.5 * np.diag(wet.box))  # the peptide on the corner of the box
    pressed = sampling.model_copy(update={"ensemble": "npt", "friction": 0.01})
    frames = sample(across, pressed, driver_of(wet), seed=2, steps=100, interval=25).frames
    assert len(frames) == 4
    for frame in frames:
        assert np.linalg.norm(frame.positions[5] - frame.positions[0]) == pytest.approx(1.09, abs=1e-12)
        assert frame.charge + frame.mm_charges.sum() == pytest.approx(0.0, abs=1e-9)
