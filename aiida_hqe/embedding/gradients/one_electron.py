"""Derivatives of one-electron integrals: with the nuclei, and with the positions and charges of the MM sites."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
from pyscf import df, gto, lib

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.frames import Floats

SITES = 100
"""Point charges whose integrals are made at a time."""


def over_atoms(mol: Any, rows: Floats) -> Floats:
    """Sum of `rows` (n_ao, 3) over the atomic orbitals of each atom (n_atoms, 3)."""
    return np.array([rows[first:last].sum(axis=0) for *_, first, last in mol.aoslice_by_atom()])


def traced_over_atoms(mol: Any, derivative: Floats, density: Floats) -> Floats:
    """``2 sum_{m in A, n} derivative_xmn density_mn`` for each atom A (n_atoms, 3); `density` is symmetric."""
    return over_atoms(mol, 2.0 * np.einsum("xmn,mn->mx", derivative, density))


def hcore_gradient(state: EnvironmentState, P: Floats) -> Floats:
    """``tr P h^x`` for each atom (n_atoms, 3), hartree/bohr; h holds the nuclei and the point charges."""
    derivative = state.mf.nuc_grad_method().hcore_generator(state.mol)
    return np.array([np.einsum("xmn,mn->x", derivative(atom), P) for atom in range(state.mol.natm)])


def overlap_gradient(state: EnvironmentState, X: Floats) -> Floats:
    """``tr X S^x`` for each atom (n_atoms, 3), hartree/bohr."""
    return traced_over_atoms(state.mol, -state.mol.intor("int1e_ipovlp", comp=3), X)


def charge_gradient(state: EnvironmentState, P: Floats) -> Floats:
    """Derivative of ``tr P h`` with the positions of the point charges (n_mm, 3), hartree/bohr."""
    if not hasattr(state.mf, "mm_mol"):
        return np.zeros((0, 3))
    return np.asarray(state.mf.nuc_grad_method().grad_hcore_mm(P))


def charge_derivatives(state: EnvironmentState, P: Floats) -> Floats:
    """Derivative of ``tr P h`` with the charges (n_mm,), hartree/e: minus the potential of the electrons where they are."""
    if not hasattr(state.mf, "mm_mol"):
        return np.zeros(0)
    mm, found = state.mf.mm_mol, []
    coordinates, exponents = mm.atom_coords(), np.broadcast_to(mm.get_zetas(), mm.atom_charges().shape)
    for first, last in lib.prange(0, len(coordinates), SITES):
        sites = gto.fakemol_for_charges(coordinates[first:last], exponents[first:last])
        integrals = df.incore.aux_e2(state.mol, sites, "int3c2e", aosym="s1")
        found.append(-np.einsum("mnk,mn->k", integrals, P))
    return np.concatenate(found)


def nuclear_charge_derivatives(state: EnvironmentState) -> Floats:
    """Derivative of the energy of nuclei and point charges with the charges (n_mm,), hartree/e: the nuclei's potential."""
    if not hasattr(state.mf, "mm_mol"):
        return np.zeros(0)
    mm = state.mf.mm_mol
    r = np.linalg.norm(mm.atom_coords()[:, None] - state.mol.atom_coords(), axis=2)
    shape = 1.0 if mm.charge_model == "point" else scipy.special.erf(np.sqrt(mm.get_zetas())[:, None] * r)
    return np.asarray((shape / r) @ state.mol.atom_charges())
