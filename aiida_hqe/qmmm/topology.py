"""Read structures and force fields through OpenMM: PDB, mmCIF or Amber files to a topology, a `System` and positions."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import openmm
from openmm import app, unit

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.settings import Solvation, SystemSettings
from aiida_hqe.units import NM

_SUFFIXES = (".pdb", ".cif", ".mmcif", ".prmtop", ".parm7")
_UNREADABLE = (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, StopIteration)


@dataclasses.dataclass(frozen=True)
class Structure:
    """Topology and force field of a system, and the state that its files give.

    Attributes
    ----------
    topology
        OpenMM's topology of all atoms.
    system
        Full force field; bonds to hydrogen and water are rigid, but keep their energy terms.
    positions, box
        (n, 3) and (3, 3) or ``None``, angstrom.
    n_given
        Number of atoms in the files; those added by solvation follow them.
    """

    topology: Any
    system: openmm.System
    positions: Floats
    box: Floats | None
    n_given: int


def read(settings: SystemSettings, directory: Path) -> Structure:
    """Read the files that `settings` names, relative to `directory`, and solvate if asked.

    Raises
    ------
    InputError
        A file is missing or unreadable, a force field unknown, a residue without parameters.
    """
    path = _existing(directory, settings.topology, "system.topology")
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"one of {', '.join(_SUFFIXES)} was expected (got {path.name}): convert it", "system.topology")
    if path.suffix.lower() in (".prmtop", ".parm7"):
        return _read_amber(settings, path, directory)
    return _read_pdb(settings, path, directory)


def _existing(directory: Path, name: str, key: str) -> Path:
    path = directory / name
    if not path.is_file():
        raise InputError(
            f"a file was expected (got no file {path}): correct the path, relative to the campaign file", key
        )
    return path


def _read_pdb(settings: SystemSettings, path: Path, directory: Path) -> Structure:
    if not settings.forcefield:
        raise InputError(
            "force-field names or XML files were expected for a PDB (got none): name them, such as amber14-all.xml",
            "system.forcefield",
        )
    if not path.read_bytes().strip():
        raise InputError(f"atoms were expected in {path.name} (got an empty file): replace it", "system.topology")
    reader = app.PDBFile if path.suffix.lower() == ".pdb" else app.PDBxFile
    try:
        file = reader(str(path))
        positions = np.array(file.getPositions(asNumpy=True).value_in_unit(unit.angstrom), dtype=float)
    except _UNREADABLE as error:
        raise InputError(
            f"a readable structure was expected in {path.name} (got {_line(error)})", "system.topology"
        ) from error
    n_given = file.topology.getNumAtoms()
    _check_structure(path.name, n_given, positions)
    forcefield = _forcefield(settings, directory)
    topology = file.topology
    if settings.solvate is not None:
        topology, positions = _solvate(settings.solvate, forcefield, topology, file.positions)
    periodic = topology.getPeriodicBoxVectors() is not None
    try:
        system = forcefield.createSystem(topology, **_options(periodic))
    except (ValueError, KeyError) as error:
        raise InputError(_no_parameters(error), "system.forcefield") from error
    return Structure(topology, system, positions, _box(topology.getPeriodicBoxVectors()), n_given)


def _check_structure(name: str, n_atoms: int, positions: Floats) -> None:
    if n_atoms == 0:
        raise InputError(f"atoms were expected in {name} (got none): the file is empty or truncated", "system.topology")
    if not np.all(np.isfinite(positions)):
        atom = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        raise InputError(
            f"finite coordinates were expected in {name} (got NaN at atom {atom}): repair it", "system.topology"
        )


def _read_amber(settings: SystemSettings, path: Path, directory: Path) -> Structure:
    if settings.coordinates is None:
        raise InputError("an inpcrd file was expected with a prmtop (got none): name it", "system.coordinates")
    if settings.forcefield or settings.solvate is not None:
        key = "system.forcefield" if settings.forcefield else "system.solvate"
        raise InputError("a prmtop already holds force field and solvent: remove this entry", key)
    coordinates = _existing(directory, settings.coordinates, "system.coordinates")
    try:
        state = app.AmberInpcrdFile(str(coordinates))
        positions = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), dtype=float)
    except _UNREADABLE as error:
        raise InputError(
            f"a readable inpcrd was expected in {coordinates.name} (got {_line(error)})", "system.coordinates"
        ) from error
    try:
        prmtop = app.AmberPrmtopFile(str(path), periodicBoxVectors=state.boxVectors)
        system = prmtop.createSystem(**_options(state.boxVectors is not None))
    except (*_UNREADABLE, openmm.OpenMMException) as error:
        raise InputError(
            f"a readable prmtop was expected in {path.name} (got {_line(error)})", "system.topology"
        ) from error
    n_given = prmtop.topology.getNumAtoms()
    if len(positions) != n_given:
        raise InputError(
            f"{n_given} atoms as in {path.name} were expected (got {len(positions)}): use the inpcrd that belongs to it",
            "system.coordinates",
        )
    _check_structure(coordinates.name, n_given, positions)
    return Structure(prmtop.topology, system, positions, _box(state.boxVectors), n_given)


def _options(periodic: bool) -> dict[str, Any]:
    return {
        "nonbondedMethod": app.PME if periodic else app.NoCutoff,
        "constraints": app.HBonds,
        "rigidWater": True,
        "flexibleConstraints": True,
        "removeCMMotion": False,
    }


def _forcefield(settings: SystemSettings, directory: Path) -> app.ForceField:
    names = [_forcefield_file(name, directory, f"system.forcefield.{k}") for k, name in enumerate(settings.forcefield)]
    try:
        return app.ForceField(*names)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"force fields that fit together were expected (got {_line(error)}): correct the list", "system.forcefield"
        ) from error


def _forcefield_file(name: str, directory: Path, key: str) -> str:
    """Path of the user's XML file, or the name of one of OpenMM's."""
    own = directory / name
    if not own.is_file():
        if not (Path(app.__file__).parent / "data" / name).is_file():
            raise InputError(
                f"the name of an OpenMM force field or an XML file was expected (got {name}):"
                " correct the name, or the path relative to the campaign file",
                key,
            )
        return name
    try:
        tags = {element.tag for element in ElementTree.parse(own).iter()}
    except ElementTree.ParseError as error:
        raise InputError(
            f"a readable force-field XML was expected in {name} (got {_line(error)}): repair it", key
        ) from error
    if tags & _EXECUTED:
        raise InputError(
            f"a force field of numbers alone was expected in {name} (got <{min(tags & _EXECUTED)}>, which OpenMM would run or"
            " follow): remove it, and list an included file as one of its own",
            key,
        )
    return str(own)


_EXECUTED = {"Script", "InitializationScript", "Include"}
"""Elements of a force-field file that OpenMM executes as Python, or that name further files, which it would read unchecked."""


LARGEST_BOX = 300.0
"""Largest edge (angstrom) of a box that is filled with water here: 900,000 molecules. More is mostly a slip of the unit."""


def _check_edge(solvation: Solvation, positions: Any) -> None:
    extent = np.ptp(np.array(positions.value_in_unit(unit.angstrom), dtype=float), axis=0).max()
    edge = solvation.box if solvation.box is not None else float(extent) + 2 * (solvation.padding or 0.0)
    if edge > LARGEST_BOX:
        raise InputError(
            f"a box of at most {LARGEST_BOX:g} angstrom was expected (got {edge:g} angstrom): correct number or unit, or give"
            " a structure that is solvated already",
            "system.solvate",
        )


def _solvate(solvation: Solvation, forcefield: app.ForceField, topology: Any, positions: Any) -> tuple[Any, Floats]:
    _check_edge(solvation, positions)
    modeller = app.Modeller(topology, positions)
    size = (
        {"boxSize": openmm.Vec3(*(3 * [solvation.box / NM])) * unit.nanometer}
        if solvation.box is not None
        else {"padding": (solvation.padding or 0.0) / NM * unit.nanometer}
    )
    try:
        with _fixed_random():
            modeller.addSolvent(
                forcefield,
                model=solvation.model,
                ionicStrength=solvation.ionic_strength * unit.molar,
                neutralize=solvation.neutralize,
                **size,
            )
    except (ValueError, KeyError) as error:
        raise InputError(_no_parameters(error), "system.forcefield") from error
    except openmm.OpenMMException as error:
        raise InputError(f"a box that holds the solute was expected (got {_line(error)})", "system.solvate") from error
    for old, new in zip(topology.atoms(), modeller.topology.atoms(), strict=False):
        if (old.name, old.residue.name, old.element) != (new.name, new.residue.name, new.element):
            raise InputError(
                f"solvation was expected to keep the atoms of the file first (got another at {old.index}):"
                " solvate beforehand and give a solvated file",
                "system.solvate",
            )
    placed = modeller.getPositions().value_in_unit(unit.angstrom)
    return modeller.topology, np.array([tuple(position) for position in placed], dtype=float)


@contextmanager
def _fixed_random() -> Iterator[None]:
    """Modeller places ions with Python's global generator: fix it meanwhile, so that a system builds alike each time."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _no_parameters(error: Exception) -> str:
    return (
        f"parameters for every residue were expected (got: {_line(error)}):"
        " add a force field that has the residue, or CONECT records where its bonds are missing"
    )


def _box(vectors: Any) -> Floats | None:
    return None if vectors is None else np.array(vectors.value_in_unit(unit.angstrom), dtype=float)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
