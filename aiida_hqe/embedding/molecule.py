"""From a `Frame` to PySCF's molecule and point charges, in bohr with CODATA 2018 constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf import gto
from pyscf.data.elements import ELEMENTS
from pyscf.lib.exceptions import BasisNotFoundError

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.units import BOHR

HEAVIEST_WITHOUT_POTENTIAL = 10
"""Elements up to neon never get an effective core potential."""

LINEAR_DEPENDENCE = 1e-6
"""Smallest eigenvalue of the overlap matrix that is accepted; below it PySCF would drop orbitals, frame by frame."""


def build_molecule(frame: Frame, basis: str) -> Any:
    """PySCF molecule of the QM atoms, with `basis` on each; Cartesian coordinates in bohr.

    Raises
    ------
    InputError
        Atoms overlap, the basis is unknown, lacks an element, is linearly dependent or too small for the electrons.
    """
    frame.check_geometry()
    if not basis.strip():
        raise InputError(
            f"the name of a basis was expected (got {basis!r}): choose one, such as def2-svp", "environment.basis"
        )
    atoms = [(int(z), xyz) for z, xyz in zip(frame.numbers, frame.positions / BOHR, strict=True)]
    try:
        mol = gto.M(
            atom=atoms,
            basis=basis,
            ecp=_core_potentials(frame, basis),
            unit="Bohr",
            charge=frame.charge,
            spin=frame.spin,
            verbose=0,
        )
    except (BasisNotFoundError, KeyError) as error:
        raise InputError(
            f"a basis that PySCF knows for every QM element was expected (got {basis!r}: {_one_line(error)}):"
            " choose a basis that covers the elements, such as def2-svp",
            "environment.basis",
        ) from error
    if max(mol.nelec) > mol.nao:
        raise InputError(
            f"a basis of at least {max(mol.nelec)} functions was expected for {mol.nelectron} electrons (got {basis!r} with"
            f" {mol.nao}): correct the charge, or choose a larger basis",
            "environment.basis",
        )
    smallest = float(np.linalg.eigvalsh(mol.intor_symmetric("int1e_ovlp"))[0])
    if smallest < LINEAR_DEPENDENCE:
        raise InputError(
            f"basis {basis!r} is linearly dependent here (overlap eigenvalue {smallest:.1e}, at least"
            f" {LINEAR_DEPENDENCE:.0e} expected): choose a basis with fewer diffuse functions",
            "environment.basis",
        )
    return mol


def point_charges(frame: Frame) -> tuple[Floats, Floats]:
    """Positions (n_mm, 3) in bohr and charges (n_mm,) in e of the MM sites."""
    return frame.mm_positions / BOHR, frame.mm_charges


def core_atoms(frame: Frame, core: int) -> list[int]:
    """Indices of the QM atoms of quantum core number `core`."""
    return np.flatnonzero(frame.core == core).tolist()


def _core_potentials(frame: Frame, basis: str) -> dict[str, str]:
    """Effective core potentials that come with the basis, by element."""
    found = {}
    for symbol in sorted({ELEMENTS[z] for z in frame.numbers if z > HEAVIEST_WITHOUT_POTENTIAL}):
        try:
            gto.basis.load_ecp(basis, symbol)
        except (BasisNotFoundError, KeyError):
            continue
        found[symbol] = basis
    return found


def _one_line(error: Exception) -> str:
    return " ".join(str(error).strip("'\"").split())
