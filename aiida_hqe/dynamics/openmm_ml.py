"""Committees in OpenMM-ML: the potential ``hqe``, found there by an entry point (`openmmml.potentials`).

    potential = MLPotential("hqe", committee="committee.safetensors")
    system = potential.createMixedSystem(topology, mm_system, atoms, embedding="electrostatic", cutoff="9 angstrom")

Of the embeddings, ``electrostatic`` is what committees are made for: the point charges of the force field act on the energy of
the region, and feel its forces, as in `region`. OpenMM-ML's own ``mechanical`` one, and `createSystem`, take the committee for
the isolated molecule, without any charges about it: the interaction is then the force field's.

Needs OpenMM-ML 1.8 or newer (PyPI `openmmml`), which hands a potential everything that an embedding of its own needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from aiida_hqe.dynamics.region import RegionForce, hand_over
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.periodic import molecules
from aiida_hqe.qmmm.setup import nonbonded
from aiida_hqe.units import KJ_PER_MOL, NM, parse_quantity

EMBEDDING = "electrostatic"


class CommitteePotentialFactory(MLPotentialImplFactory):
    """What OpenMM-ML asks for a potential called ``hqe``."""

    def createImpl(self, name: str, **args: Any) -> CommitteePotential:
        """The potential of ``committee``, a file or a `Committee`; ``precision`` is float32 or float64.

        ``device`` is where it computes, as of `Committee`.
        """
        committee = args.get("committee")
        if committee is None:
            raise InputError(
                f"a committee was expected (got none): MLPotential({name!r}, committee='FILE.safetensors')"
            )
        loaded = committee if isinstance(committee, Committee) else Committee.load(Path(committee))
        places = {"precision": args.get("precision", "float32"), "device": args.get("device", loaded.device)}
        return CommitteePotential(loaded.replace(**places))


class CommitteePotential(MLPotentialImpl):
    """The mean of a committee as a potential of OpenMM-ML."""

    def __init__(self, committee: Committee) -> None:
        self.committee = committee

    def addForces(
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **args: Any,
    ) -> None:
        """Add the energy of the isolated molecule of `atoms`, of all atoms if ``None``.

        Raises
        ------
        InputError
            The committee is not for these elements.
        """
        chosen = list(range(topology.getNumAtoms())) if atoms is None else list(atoms)
        molecule = IsolatedMolecule(self.committee, _numbers(topology)[chosen])
        force = openmm.PythonForce(molecule)
        force.setForceGroup(forceGroup)
        if atoms is not None:
            force.setParticles(chosen)
        system.addForce(force)

    def createMixedSystem(
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: list[int],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        **args: Any,
    ) -> openmm.System:
        """A copy of `system` whose `atoms` are the committee's, in the point charges of all others.

        Parameters
        ----------
        topology, system, atoms, forceGroup
            As in OpenMM-ML. The region is made of whole molecules.
        interpolate
            Must be false: the force field between region and charges cannot be scaled by one parameter.
        args
            ``cutoff`` and ``switch_width`` of the charges, text with a unit, OpenMM quantities or angstrom; 9 and 1.5
            angstrom by default, as in a campaign. They should be those of the frames that the committee was trained on.

        Raises
        ------
        InputError
            A bond is cut, the committee is not for these elements, or the force field is not known.
        """
        if interpolate:
            raise InputError("no interpolation was expected (got interpolate=True): electrostatic embedding has none")
        assembly = _assembly(topology, system, atoms, self.committee, args)
        _check(self.committee, assembly.numbers[assembly.qm_atoms])
        mixed = openmm.XmlSerializer.deserialize(assembly.system)
        hand_over(mixed, set(atoms), RegionForce(assembly, self.committee))
        mixed.getForce(mixed.getNumForces() - 1).setForceGroup(forceGroup)
        return mixed

    def getSupportedEmbeddings(self) -> list[str]:
        """``electrostatic``."""
        return [EMBEDDING]

    def getMLLongRange(self) -> bool:
        """False: the network sees no periodic images."""
        return False


@dataclasses.dataclass(frozen=True, eq=False)
class IsolatedMolecule:
    """Energy and forces of a molecule without charges about it, for a `PythonForce` on its atoms alone.

    Raises
    ------
    InputError
        The committee is not for these elements.
    """

    committee: Committee
    numbers: Ints

    def __post_init__(self) -> None:
        _check(self.committee, self.numbers)

    def __call__(self, state: Any) -> tuple[float, Floats]:
        """Energy (kJ/mol) and forces (n, 3) (kJ/mol/nm) of a `State`."""
        positions = NM * state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        found = self.committee.evaluate(_alone(self.committee, self.numbers, positions))
        return found.energy / KJ_PER_MOL, found.forces * (NM / KJ_PER_MOL)


def _alone(committee: Committee, numbers: Ints, positions: Floats) -> Frame:
    nothing: dict[str, Any] = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    return Frame(numbers=numbers, positions=positions, charge=committee.charge, spin=committee.spin, **nothing)


def _check(committee: Committee, numbers: Ints) -> None:
    places = 3.0 * np.arange(len(numbers))[:, None] * np.array([1.0, 0.0, 0.0])
    committee.check(_alone(committee, numbers, places))


def _numbers(topology: app.Topology) -> Ints:
    """Atomic numbers (n,); 0 for a site that is no atom."""
    return np.array([0 if atom.element is None else atom.element.atomic_number for atom in topology.atoms()])


def _assembly(
    topology: app.Topology, system: openmm.System, atoms: list[int], committee: Committee, args: dict[str, Any]
) -> Assembly:
    """What `region` needs to know of the system; its state is that of the simulation, not the one here."""
    n, region = topology.getNumAtoms(), np.array(sorted(atoms), dtype=np.int64)
    if list(atoms) != region.tolist():
        raise InputError(f"atoms in ascending order were expected (got {list(atoms)}): sort them")
    bonds = np.array([[bond.atom1.index, bond.atom2.index] for bond in topology.bonds()], dtype=np.int64).reshape(-1, 2)
    group = np.array(molecules(n, bonds))
    cut = sorted(set(group[region]) & set(np.delete(group, region)))
    if cut:
        raise InputError(
            "a region of whole molecules was expected (got one that cuts a bond): choose whole molecules, or sample with"
            " aiida-hqe, which has link atoms",
            "atoms",
        )
    group[region] = -1
    force = nonbonded(system)
    charges = [force.getParticleParameters(k)[0].value_in_unit(unit.elementary_charge) for k in range(n)]
    return Assembly(
        numbers=_numbers(topology),
        charges=np.array(charges),
        bonds=bonds,
        group=group,
        qm_atoms=region,
        core=np.zeros(len(region), dtype=np.int64),
        charge=committee.charge,
        spin=committee.spin,
        cutoff=_length(args.get("cutoff", 9.0)),
        switch_width=_length(args.get("switch_width", 1.5)),
        system=openmm.XmlSerializer.serialize(system),
        positions=np.zeros((n, 3)),
        box=np.eye(3) if system.usesPeriodicBoundaryConditions() else None,
    )


def _length(value: Any) -> float:
    """Length in angstrom."""
    if isinstance(value, unit.Quantity):
        return float(value.value_in_unit(unit.angstrom))
    try:
        return float(parse_quantity(value, "length")) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise InputError(f"a length was expected ({error})") from error
