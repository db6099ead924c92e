"""Committees as potentials of OpenMM-ML: the same energies and forces as here, in charges and without."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

pytest.importorskip("openmmml", reason="needs the extra 'openmm-ml'")

from openmmml import MLPotential

from aiida_hqe.dynamics.openmm_ml import CommitteePotentialFactory
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import build_system
from aiida_hqe.errors import InputError
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.units import KJ_PER_MOL, NM

MLPotential.registerImplFactory("hqe", CommitteePotentialFactory())
REFERENCES = {1: -10.0, 6: -1000.0, 8: -2000.0}


@pytest.fixture(scope="module")
def committee() -> Committee:
    settings = PotentialSettings(features=4, interactions=1, radial_functions=6)
    members = [
        Member(k, 1, {"environment": Network(build(settings, 0, seed=k).state_dict(), REFERENCES, True)})
        for k in range(2)
    ]
    return Committee(members, settings=settings, learn="direct", elements=[1, 6, 8], charge=0, spin=0)


@pytest.fixture(scope="module")
def topology(methanol: Assembly) -> app.Topology:
    made = app.Topology()
    residue = made.addResidue("ALL", made.addChain())
    atoms = [
        made.addAtom(f"A{k}", app.Element.getByAtomicNumber(int(number)), residue)
        for k, number in enumerate(methanol.numbers)
    ]
    for i, j in methanol.bonds:
        made.addBond(atoms[i], atoms[j])
    assert methanol.box is not None
    made.setPeriodicBoxVectors(methanol.box / NM * unit.nanometer)
    return made


def evaluate(system: openmm.System, assembly: Assembly, groups: int = -1) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/angstrom) in the state of the assembly."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    if assembly.box is not None and system.usesPeriodicBoundaryConditions():
        context.setPeriodicBoxVectors(*(assembly.box / NM))
    context.setPositions(assembly.positions[: system.getNumParticles()] / NM)
    state = context.getState(energy=True, forces=True, groups=groups)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy * KJ_PER_MOL, np.array(forces) * KJ_PER_MOL / NM


def test_electrostatic_embedding_is_the_hamiltonian_of_our_own_dynamics(
    methanol: Assembly, sampling: SamplingSettings, committee: Committee, topology: app.Topology
) -> None:
    potential = MLPotential("hqe", committee=committee, precision="float64")
    assert "electrostatic" in potential.getSupportedEmbeddings()
    system, atoms = build_system(methanol, sampling), methanol.qm_atoms.tolist()
    lengths = {"cutoff": "5.5 angstrom", "switch_width": 0.15 * unit.nanometer}
    mixed = potential.createMixedSystem(topology, system, atoms, embedding="electrostatic", forceGroup=3, **lengths)
    own = build_system(methanol, sampling, RegionForce(methanol, committee))
    energy, forces = evaluate(mixed, methanol)
    expected, wanted = evaluate(own, methanol)
    assert energy == pytest.approx(expected, abs=1e-7)
    np.testing.assert_allclose(forces, wanted, atol=1e-7)
    assert evaluate(mixed, methanol, groups=1 << 3)[0] == pytest.approx(
        committee.evaluate(methanol.frame()).energy, abs=1e-6
    )


@pytest.mark.parametrize("embedding", ["mechanical", None])
def test_without_charges_it_is_the_energy_of_the_isolated_molecule(
    embedding: str | None, methanol: Assembly, sampling: SamplingSettings, committee: Committee, tmp_path: Path,
    topology: app.Topology,
) -> None:  # fmt: skip
    committee.save(tmp_path / "c.safetensors")
    potential = MLPotential("hqe", committee=tmp_path / "c.safetensors", precision="float64")
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    expected = committee.evaluate(methanol.frame().replace(**nothing))
    if embedding is None:
        alone = app.Modeller(topology, methanol.positions / NM * unit.nanometer)
        inside = set(methanol.qm_atoms.tolist())
        alone.delete([atom for atom in topology.atoms() if atom.index not in inside])
        system = potential.createSystem(alone.topology)
    else:
        whole = build_system(methanol, sampling)
        system = potential.createMixedSystem(topology, whole, methanol.qm_atoms.tolist(), forceGroup=3)
    energy, forces = evaluate(system, methanol, groups=1 << 3 if embedding else -1)
    assert energy == pytest.approx(expected.energy, abs=1e-7)
    np.testing.assert_allclose(forces[: methanol.n_qm], expected.forces, atol=1e-7)


def test_what_it_cannot_do_is_refused_by_name(
    methanol: Assembly, sampling: SamplingSettings, committee: Committee, topology: app.Topology
) -> None:
    with pytest.raises(InputError, match="committee was expected"):
        MLPotential("hqe")
    potential, system = MLPotential("hqe", committee=committee), build_system(methanol, sampling)
    atoms, water = methanol.qm_atoms.tolist(), [methanol.n_qm + k for k in range(3)]

    def mixed(chosen: list[int], **args: object) -> None:
        potential.createMixedSystem(topology, system, chosen, embedding="electrostatic", **args)

    with pytest.raises(InputError, match="interpolate"):
        mixed(atoms, interpolate=True)
    with pytest.raises(InputError, match="whole molecules"):
        mixed(atoms[:-1])
    with pytest.raises(InputError, match="length"):
        mixed(atoms, cutoff="9 kelvin")
    carbonless = MLPotential("hqe", committee=committee.replace(elements=[1, 8]))
    with pytest.raises(InputError, match=r"\[6\]"):
        carbonless.createMixedSystem(topology, system, atoms, embedding="electrostatic")
    with pytest.raises(InputError, match=r"\[6\]"):
        carbonless.createMixedSystem(topology, system, atoms)
    assert mixed(water) is None  # another region of the same elements is fine


def test_a_copied_committee_says_the_same(committee: Committee, methanol: Assembly) -> None:
    frame = methanol.frame()
    assert copy.deepcopy(committee).evaluate(frame).energy == committee.evaluate(frame).energy
