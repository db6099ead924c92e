"""Derivatives of one-electron integrals: with the nuclei, and with the positions and charges of the MM sites.

Densities and what is made of them carry a leading axis: all of them are contracted in one pass over the integrals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.special
from pyscf import df, gto, lib

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.frames import Floats

BLOCK = 5e6
"""Elements of a block of integrals over several charges."""


def over_atoms(mol: Any, rows: Floats) -> Floats:
    """Sum of `rows` (n_ao, 3) over the atomic orbitals of each atom (n_atoms, 3)."""
    return np.array([rows[first:last].sum(axis=0) for *_, first, last in mol.aoslice_by_atom()])


def traced_over_atoms(mol: Any, derivative: Floats, density: Floats) -> Floats:
    """``2 sum_{m in A, n} derivative_xmn density_mn`` for each atom A (n_atoms, 3); `density` is symmetric."""
    return over_atoms(mol, 2.0 * np.einsum("xmn,mn->mx", derivative, density))


def overlap_gradient(state: EnvironmentState, X: Floats) -> Floats:
    """``tr X S^x`` for each atom (n_atoms, 3), hartree/bohr."""
    return traced_over_atoms(state.mol, -state.mol.intor("int1e_ipovlp", comp=3), X)


def hcore_gradients(state: EnvironmentState, densities: Floats) -> tuple[Floats, Floats]:
    """Derivatives of ``tr P h``, in which h holds the nuclei and the point charges, hartree/bohr.

    Parameters
    ----------
    densities
        Symmetric matrices P (n, n_ao, n_ao).

    Returns
    -------
    arrays (n, n_atoms, 3), (n, n_mm, 3)
        With the positions of the nuclei, and with those of the point charges.
    """
    mol = state.mol
    kinetic = -mol.intor("int1e_ipkin", comp=3)
    on_atoms = np.array([traced_over_atoms(mol, kinetic, P) for P in densities])
    on_atoms += sum(_attraction(mol, mol.atom_coords(), mol.atom_charges().astype(float), None, densities))
    on_atoms += _core_potentials(mol, densities)
    if not hasattr(state.mf, "mm_mol"):
        return on_atoms, np.zeros((len(densities), 0, 3))
    through_orbitals, on_charges = _attraction(mol, *_sites(state), densities)
    return on_atoms + through_orbitals, on_charges


def charge_derivatives(state: EnvironmentState, densities: Floats) -> Floats:
    """Derivative of ``tr P h`` with the charges, hartree/e: minus the potential of the electrons where they are.

    For one density (n_ao, n_ao) or several (n, n_ao, n_ao): (n_mm,) or (n, n_mm).
    """
    if not hasattr(state.mf, "mm_mol"):
        return np.zeros((*densities.shape[:-2], 0))
    coordinates, charges, exponents = _sites(state)
    flat = densities.reshape(-1, state.mol.nao**2)
    found = np.empty((len(flat), len(charges)))
    for k, (integrals,) in _integrals(state.mol, coordinates, exponents, 0):
        found[:, k] = -flat @ integrals
    return found.reshape(*densities.shape[:-2], -1)


def nuclear_charge_derivatives(state: EnvironmentState) -> Floats:
    """Derivative of the energy of nuclei and point charges with the charges (n_mm,), hartree/e: the nuclei's potential."""
    if not hasattr(state.mf, "mm_mol"):
        return np.zeros(0)
    mm = state.mf.mm_mol
    r = np.linalg.norm(mm.atom_coords()[:, None] - state.mol.atom_coords(), axis=2)
    shape = 1.0 if mm.charge_model == "point" else scipy.special.erf(np.sqrt(mm.get_zetas())[:, None] * r)
    return np.asarray((shape / r) @ state.mol.atom_charges())


def _sites(state: EnvironmentState) -> tuple[Floats, Floats, Floats | None]:
    """Positions, charges, and exponents where they are smeared, of the MM sites."""
    mm = state.mf.mm_mol
    return mm.atom_coords(), mm.atom_charges(), None if mm.charge_model == "point" else mm.get_zetas()


def _attraction(
    mol: Any, coordinates: Floats, charges: Floats, exponents: Floats | None, densities: Floats
) -> tuple[Floats, Floats]:
    """Derivative of the attraction to charges through the orbitals (n, n_atoms, 3) and through the charges (n, n_charges, 3).

    The attraction does not change when orbitals and charge move together, so that integrals over derivatives of orbitals serve
    for both.
    """
    n = len(densities)
    flat, potential = densities.reshape(n, -1), np.zeros((3, mol.nao, mol.nao))
    on_charges = np.empty((n, len(charges), 3))
    for k, integrals in _integrals(mol, coordinates, exponents, 1):
        for x in range(3):
            on_charges[:, k, x] = -2.0 * charges[k] * (flat @ integrals[x])
            potential[x] += (integrals[x] @ charges[k]).reshape(potential[x].shape).T
    return np.array([traced_over_atoms(mol, potential, P) for P in densities]), on_charges


def _integrals(mol: Any, coordinates: Floats, exponents: Floats | None, deriv: int) -> Iterator[tuple[slice, Floats]]:
    """``(m|1/r_k|n)`` (1, n_ao n_ao, n_charges), or ``(d_x m|1/r_k|n)`` (3, ...), in blocks of charges.

    Pairs (n, m) of orbitals have m as the inner index. Nothing is copied: the order in memory is that in which they are made.
    """
    size, n_x, n_pairs = int(max(BLOCK / (3**deriv * mol.nao**2), 1)), 3**deriv, mol.nao**2
    for first, last in lib.prange(0, len(coordinates), size):
        k = slice(first, last)
        if exponents is None:
            integrals = mol.intor("int1e_grids_ip" if deriv else "int1e_grids", grids=coordinates[k])
            yield k, np.moveaxis(integrals, -3, -1).swapaxes(-3, -2).reshape(n_x, n_pairs, -1)
            continue
        sites = gto.fakemol_for_charges(coordinates[k], exponents[k])
        integrals = df.incore.aux_e2(mol, sites, "int3c2e_ip1" if deriv else "int3c2e", comp=n_x, aosym="s1")
        yield k, np.moveaxis(integrals, -1, -3).swapaxes(-2, -1).reshape(n_x, -1, n_pairs).swapaxes(1, 2)


def _core_potentials(mol: Any, densities: Floats) -> Floats:
    """Derivative of the effective core potentials (n, n_atoms, 3)."""
    found = np.zeros((len(densities), mol.natm, 3))
    if not mol.has_ecp():
        return found
    through_orbitals = -mol.intor("ECPscalar_ipnuc", comp=3)
    for gradient, P in zip(found, densities, strict=True):
        gradient += traced_over_atoms(mol, through_orbitals, P)
    for atom in set(mol._ecpbas[:, gto.ATOM_OF]):
        with mol.with_rinv_at_nucleus(atom):
            found[:, atom] += 2.0 * np.einsum("xmn,pmn->px", mol.intor("ECPscalar_iprinv", comp=3), densities)
    return found
