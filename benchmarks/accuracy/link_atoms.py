"""How well a link atom stands for the rest of a peptide: ``python benchmarks/accuracy/link_atoms.py``.

Blocked serine in vacuum, its side chain QM (PBE/6-31G), the rest Amber ff14SB, beside the whole molecule by PBE/6-31G and
by the force field. What the boundary has to get right are the stiffness of the cut bond CB - CA and of the angle OG - CB - CA at
the structure of the force field's minimum, and the energy as the side chain turns about the cut bond (chi1) and its hydroxyl
about CB - OG (chi2), both rigidly. The conventions compared are

- this program's;
- ``keep``: bonded terms of the force field are kept wherever they have an MM atom, so that angles at the link atom count
  twice;
- ``scaled``: the link atom lies at a fixed fraction of the bond, so that its length counts twice;
- ``charge kept``, ``charge dropped``: the host's charge stays where it is, or is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm
import pytest
from scipy.spatial.transform import Rotation

import aiida_hqe.campaign
from aiida_hqe.dynamics import region
from aiida_hqe.dynamics.driver import Evaluation
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import build_system
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.level import Environment
from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build
from aiida_hqe.units import HARTREE, KCAL_PER_MOL, KJ_PER_MOL, NM

CA, CB, OG, HG = 8, 10, 13, 14
SIDE = [CB, 11, 12, OG, HG]
LEVEL = Environment(xc="pbe", basis="6-31g", grid_level=1, density_fit=True)
VACUUM = SamplingSettings(constraints="none", platform="Reference")
STRETCH, BEND = 0.04, np.radians(4.0)

Energy = Callable[[Floats], float]


def main() -> None:
    """Print the table, and write it as JSON where a path is given."""
    start = minimised(serine())
    found = {}
    for name, energy in energies(start).items():
        found[name] = measure(start.positions, energy)
        if len(sys.argv) > 1:
            Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name:<16}", *(f"{key} {value:8.2f}" for key, value in summary(found).items()), flush=True)


def serine() -> Assembly:
    settings = SystemSettings(
        topology="peptide.pdb",
        forcefield=["amber14/protein.ff14SB.xml"],
        qm={"atoms": SIDE},
        charge=0,
        cutoff="30 angstrom",
    )
    return build(settings, Path(aiida_hqe.campaign.__file__).parent / "templates" / "peptide")


def context_of(system: openmm.System) -> openmm.Context:
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energy_in(context: openmm.Context, positions: Floats) -> float:
    context.setPositions(positions / NM)
    return float(context.getState(energy=True).getPotentialEnergy()._value) * KJ_PER_MOL


def minimised(assembly: Assembly) -> Assembly:
    """At the force field's minimum."""
    context = context_of(build_system(assembly, VACUUM))
    context.setPositions(assembly.positions / NM)
    openmm.LocalEnergyMinimizer.minimize(context, 0.01)
    return assembly.replace(positions=NM * context.getState(positions=True).getPositions(asNumpy=True)._value)


def electronic(frame: Frame) -> float:
    """Energy of a frame, eV; begins with the density of the last one of this size."""
    state = solve_environment(frame, LEVEL, _densities.get(frame.n_qm))
    _densities[frame.n_qm] = np.asarray(state.mf.make_rdm1())[None]
    return state.energy * HARTREE


_densities: dict[int, Floats] = {}


def energies(assembly: Assembly) -> dict[str, Energy]:
    """Energy (eV) by positions, of every method."""
    whole = context_of(build_system(assembly, VACUUM))
    return {
        "whole PBE": lambda x: electronic(Frame(numbers=assembly.numbers, positions=x, charge=0, spin=0)),
        "force field": lambda x: energy_in(whole, x),
        "this program": mixed(assembly, assembly.frame),
        "keep": mixed(assembly, assembly.frame, every_term=True),
        "scaled": mixed(assembly, lambda x: scaled(assembly, x)),
        "charge kept": mixed(assembly, lambda x: unmoved(assembly, x, 1.0)),
        "charge dropped": mixed(assembly, lambda x: unmoved(assembly, x, 0.0)),
    }


def mixed(assembly: Assembly, frame: Callable[[Floats], Frame], every_term: bool = False) -> Energy:
    """QM/MM energy by positions, the QM part that of `frame`."""
    with pytest.MonkeyPatch.context() as patch:
        if every_term:
            patch.setattr(region._Region, "describes", lambda self, term: set(term) <= self.atoms)
        system = build_system(assembly, VACUUM, region.RegionForce(assembly, Silent()))
    system.removeForce(system.getNumForces() - 1)
    context = context_of(system)
    return lambda x: energy_in(context, x) + electronic(frame(x))


class Silent:
    """A driver that is never asked."""

    def evaluate(self, frame: Frame, /) -> Evaluation:
        raise NotImplementedError


def scaled(assembly: Assembly, positions: Floats) -> Frame:
    """The link atom at the fraction of the bond that it has in the start structure."""
    inner, host = assembly.links[0]
    now, start = (np.linalg.norm(x[host] - x[inner]) for x in (positions, assembly.positions))
    return assembly.replace(link_lengths=assembly.link_lengths * now / start).frame(positions)


def unmoved(assembly: Assembly, positions: Floats, share: float) -> Frame:
    """The charge of the host stays on it, or a `share` of it."""
    charges = assembly.charges.copy()
    charges[assembly.boundary.hosts] += assembly.boundary.balance
    charges[assembly.boundary.hosts] *= share
    sites, mm = assembly.boundary.extend(positions), np.setdiff1d(np.arange(assembly.n_atoms), SIDE)
    return assembly.frame(positions).replace(
        positions=sites[assembly.region],
        mm_numbers=assembly.numbers[mm],
        mm_positions=sites[mm],
        mm_charges=charges[mm],
    )


def measure(positions: Floats, energy: Energy) -> dict[str, list[float]]:
    """Energies (eV) along the four motions; the first of each is the start."""
    start = energy(positions)
    rest = np.setdiff1d(np.arange(len(positions)), SIDE)
    bond = positions[CA] - positions[CB]
    plane = np.cross(positions[OG] - positions[CB], bond)

    def moved(atoms: Ints, axis: Floats, angle: float) -> Floats:
        result = positions.copy()
        result[atoms] = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).apply(result[atoms] - positions[CB])
        result[atoms] += positions[CB]
        return result

    def stretched(length: float) -> Floats:
        result = positions.copy()
        result[rest] += length * bond / np.linalg.norm(bond)
        return result

    turns = np.radians([90.0, 180.0, 270.0])
    hydroxyl = np.array([HG])
    return {
        "stretch": [start, energy(stretched(STRETCH)), energy(stretched(-STRETCH))],
        "bend": [start, energy(moved(rest, plane, BEND)), energy(moved(rest, plane, -BEND))],
        "chi1": [start, *(energy(moved(rest, bond, turn)) for turn in turns)],
        "chi2": [start, *(energy(moved(hydroxyl, positions[OG] - positions[CB], turn)) for turn in turns)],
    }


def summary(found: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Force constants of the last method, and its root mean square deviations from the first."""
    last, reference = list(found.values())[-1], next(iter(found.values()))

    def constant(name: str, step: float) -> float:
        middle, one, two = last[name]
        return (one + two - 2.0 * middle) / step**2 / KCAL_PER_MOL

    def deviation(name: str) -> float:
        ours, theirs = np.array(last[name]), np.array(reference[name])
        difference = ours - theirs
        return float(np.std(difference)) / KCAL_PER_MOL

    return {
        "stretch (kcal/mol/A^2)": constant("stretch", STRETCH),
        "bend (kcal/mol/rad^2)": constant("bend", BEND),
        "chi1 (kcal/mol)": deviation("chi1"),
        "chi2 (kcal/mol)": deviation("chi2"),
    }


if __name__ == "__main__":
    main()
