"""Build an `Assembly` from the ``system`` section of a campaign: files, QM region and quantum cores, all validated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from scipy.spatial import cKDTree

from aiida_hqe.errors import InputError
from aiida_hqe.frames import OVERLAP, Floats, Ints
from aiida_hqe.qmmm import links, topology
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.boundary import remainders
from aiida_hqe.qmmm.periodic import molecules, spanning_tree, whole
from aiida_hqe.qmmm.settings import Selection, SystemSettings
from aiida_hqe.qmmm.topology import Structure

_CHARGE_TOLERANCE = 0.01


def build(settings: SystemSettings, directory: Path) -> Assembly:
    """Assembly of a system section.

    Parameters
    ----------
    settings
        The section; its atom indices and residue names refer to the structure file, also where water is added.
    directory
        Folder that paths are relative to.

    Returns
    -------
    Assembly
        With molecules in one piece, and without velocities.

    Raises
    ------
    InputError
        Anything is wrong with files, region, cores, charge or box; ``key`` is the dotted path of the entry.
    """
    structure = topology.read(settings, directory)
    qm_atoms = _select(settings.qm, structure, "system.qm")
    core = _cores(settings, structure, qm_atoms)
    numbers = np.array(
        [a.element.atomic_number if a.element else 0 for a in structure.topology.atoms()], dtype=np.int64
    )
    bonds = _bonds(structure)
    _check_sites(structure, numbers, qm_atoms)
    cut, lengths = links.find(structure, bonds, numbers, qm_atoms)
    charges = _charges(structure.system)
    links.check_remainders(cut, bonds, charges, qm_atoms)
    _check_electrons(
        settings, int(numbers[qm_atoms].sum()) + len(cut), _charge(bonds, charges, qm_atoms, bool(len(cut)))
    )
    _check_overlaps(structure, numbers)
    molecule = molecules(len(numbers), bonds)
    positions = whole(structure.positions, structure.box, spanning_tree(len(numbers), bonds))
    assembly = Assembly(
        numbers=numbers,
        charges=charges,
        bonds=bonds,
        group=_groups(structure, molecule, qm_atoms),
        qm_atoms=qm_atoms,
        core=core,
        charge=settings.charge,
        spin=settings.spin,
        cutoff=settings.cutoff,
        switch_width=settings.switch_width,
        system=openmm.XmlSerializer.serialize(structure.system),
        positions=positions,
        box=structure.box,
        links=cut,
        link_lengths=lengths,
    )
    assembly.frame()  # raises where the cutoff reaches beyond half the box
    return assembly


def _select(selection: Selection, structure: Structure, key: str) -> Ints:
    """Ascending indices of the atoms that a selection names."""
    n = structure.n_given
    if selection.atoms is not None:
        outside = [index for index in selection.atoms if not 0 <= index < n]
        if outside:
            raise InputError(
                f"indices from 0 to {n - 1} were expected, because the file holds {n} atoms (got {outside[0]}):"
                " count from 0 in the structure file",
                f"{key}.atoms",
            )
        if len(set(selection.atoms)) < len(selection.atoms):
            raise InputError(f"each atom once was expected (got {selection.atoms}): remove repetitions", f"{key}.atoms")
        return np.array(sorted(selection.atoms), dtype=np.int64)
    residues = [atom.residue.name for atom in list(structure.topology.atoms())[:n]]
    for name in selection.residues or []:
        if name not in residues:
            found = ", ".join(sorted(set(residues))[:12])
            raise InputError(f"a residue of the structure file, {found}, was expected (got {name})", f"{key}.residues")
    return np.array([i for i, name in enumerate(residues) if name in (selection.residues or [])], dtype=np.int64)


def _cores(settings: SystemSettings, structure: Structure, qm_atoms: Ints) -> Ints:
    """Number of the core of each QM atom; 0 for none."""
    core = np.zeros(len(qm_atoms), dtype=np.int64)
    for number, selection in enumerate(settings.cores, start=1):
        key = f"system.cores.{number - 1}"
        atoms = _select(selection, structure, key)
        key += ".atoms" if selection.atoms is not None else ".residues"
        outside = sorted(set(atoms.tolist()) - set(qm_atoms.tolist()))
        if outside:
            raise InputError(
                f"a core inside the QM region was expected (got atom {outside[0]}, which is MM):"
                " add it to system.qm or remove it from the core",
                key,
            )
        places = np.searchsorted(qm_atoms, atoms)
        if core[places].any():
            atom = int(atoms[core[places] > 0][0])
            raise InputError(
                f"cores without common atoms were expected (got atom {atom} in cores {core[places].max()} and {number}):"
                " keep it in one of them, or merge the cores",
                key,
            )
        core[places] = number
    return core


def _bonds(structure: Structure) -> Ints:
    """Bonds of the topology, of the force field (also rigid ones), and of virtual sites to their atoms; each once."""
    pairs = {tuple(sorted((bond[0].index, bond[1].index))) for bond in structure.topology.bonds()}
    system = structure.system
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            pairs |= {tuple(sorted(force.getBondParameters(k)[:2])) for k in range(force.getNumBonds())}
    pairs |= {tuple(sorted(system.getConstraintParameters(k)[:2])) for k in range(system.getNumConstraints())}
    for site in range(system.getNumParticles()):
        if system.isVirtualSite(site):
            pairs.add((min(site, parent := system.getVirtualSite(site).getParticle(0)), max(site, parent)))
    return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


def _check_sites(structure: Structure, numbers: Ints, qm_atoms: Ints) -> None:
    for atom in qm_atoms.tolist():
        if numbers[atom] == 0 or structure.system.isVirtualSite(atom):
            raise InputError(
                f"atoms of an element were expected in the QM region (got {atom}, a virtual site or unknown element):"
                " leave it out, or use a three-site water model",
                "system.qm",
            )


def _charges(system: openmm.System) -> Floats:
    """Force-field charges (n,), e."""
    force = nonbonded(system)
    values = [
        force.getParticleParameters(k)[0].value_in_unit(unit.elementary_charge) for k in range(force.getNumParticles())
    ]
    return np.array(values, dtype=float)


def nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    """The one NonbondedForce of a system.

    Raises
    ------
    InputError
        It has none or several: its charges would be elsewhere.
    """
    forces = [force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)]
    if len(forces) != 1:
        raise InputError(
            f"a force field with one NonbondedForce was expected (got {len(forces)}): use a fixed-charge force field",
            "system.forcefield",
        )
    return forces[0]


def _charge(bonds: Ints, charges: Floats, qm_atoms: Ints, cut: bool) -> int:
    """Charge that the force field gives the QM region: that of its atoms, where a bond is cut to the nearest integers."""
    total = float(charges[qm_atoms].sum())
    if cut:
        return round(total - float(remainders(bonds, charges, qm_atoms)[1].sum()))
    if abs(total - round(total)) > _CHARGE_TOLERANCE:
        raise InputError(
            f"a QM region of integer force-field charge was expected (got {total:.3f}): take whole residues",
            "system.qm",
        )
    return round(total)


def _check_electrons(settings: SystemSettings, protons: int, whole_charge: int) -> None:
    if settings.charge != whole_charge:
        raise InputError(
            f"the charge {whole_charge} that the force field gives the QM region was expected (got {settings.charge}):"
            " correct the charge, or the residues' protonation",
            "system.charge",
        )
    electrons = protons - settings.charge
    if electrons < max(settings.spin, 1) or (electrons - settings.spin) % 2:
        parity = "odd" if electrons % 2 else "even"
        raise InputError(
            f"an {parity} number of unpaired electrons was expected for {electrons} electrons (got spin {settings.spin}):"
            " correct charge or spin (spin is 2S)",
            "system.spin",
        )


def _check_overlaps(structure: Structure, numbers: Ints) -> None:
    atoms = np.flatnonzero(numbers > 0)
    pairs = cKDTree(structure.positions[atoms]).query_pairs(OVERLAP, output_type="ndarray")
    if len(pairs):
        i, j = atoms[pairs[0]]
        distance = np.linalg.norm(structure.positions[i] - structure.positions[j])
        raise InputError(
            f"atoms at least {OVERLAP} angstrom apart were expected (got atoms {i} and {j}, {distance:.3f} apart):"
            " repair the structure",
            "system.topology",
        )


def _groups(structure: Structure, molecule: Ints, qm_atoms: Ints) -> Ints:
    """Charge group of each MM atom: its molecule, or its residue in a molecule of several; -1 for QM atoms."""
    residue = np.array([atom.residue.index for atom in structure.topology.atoms()])
    group = (
        np.unique(np.stack([molecule, residue], axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    )
    group[qm_atoms] = -1
    return group
