"""Nuclear gradients of exact electron repulsion: of pairs of densities, and of a two-particle density.

Every function returns the derivative of its energy with the densities held fixed, (n_atoms, 3) in hartree/bohr.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf.grad import rhf

from aiida_hqe.embedding.gradients.pairs import Pair
from aiida_hqe.frames import Floats


def by_atom(mol: Any, derivative: Floats, density: Floats) -> Floats:
    """``2 sum_{m in A, n} derivative_xmn density_mn`` for each atom A, (n_atoms, 3); `density` is symmetric."""
    rows = 2.0 * np.einsum("xmn,mn->mx", derivative, density)
    return rows_by_atom(mol, rows)


def rows_by_atom(mol: Any, rows: Floats) -> Floats:
    """Sum of `rows` (n_ao, 3) over the atomic orbitals of each atom (n_atoms, 3)."""
    return np.array([rows[first:last].sum(axis=0) for *_, first, last in mol.aoslice_by_atom()])


def repulsion_gradient(mol: Any, pairs: list[Pair]) -> Floats:
    """Gradient of the repulsion of pairs of densities."""
    densities = [density for pair in pairs for density in (pair.X, pair.Y)]
    if any(pair.exchange for pair in pairs):
        J, K = rhf.get_jk(mol, np.array(densities))
    else:
        J = rhf.get_j(mol, np.array(densities))
        K = np.zeros_like(J)
    gradient = np.zeros((mol.natm, 3))
    for k, pair in enumerate(pairs):
        x, y = (J[i] - 0.5 * pair.exchange * K[i] for i in (2 * k, 2 * k + 1))
        gradient += by_atom(mol, y, pair.X) + by_atom(mol, x, pair.Y)
    return gradient


def two_particle_gradient(mol: Any, left: tuple[Floats, Floats], right: tuple[Floats, Floats], Gamma: Floats) -> Floats:
    """Gradient of ``1/2 sum Gamma_pqrs (pq|rs)``.

    Parameters
    ----------
    left, right
        Orbitals (n_ao, n) of the indices p, q and of r, s.
    Gamma
        Two-particle density (n_p, n_q, n_r, n_s), which exchange of the two pairs leaves as it is.
    """
    C_r, C_s = right
    rows = np.tril_indices(mol.nao)
    half = np.einsum("pqrs,mr,ns->pqmn", Gamma, C_r, C_s, optimize=True)
    half = 0.5 * (half + half.transpose(0, 1, 3, 2))
    packed = (half * (2.0 - np.eye(mol.nao)))[:, :, rows[0], rows[1]]
    gradient = np.zeros((mol.nao, 3))
    C_p, C_q = left
    offsets = mol.ao_loc
    for shell in range(mol.nbas):
        block = slice(offsets[shell], offsets[shell + 1])
        whole = (0, mol.nbas)
        integrals = mol.intor("int2e_ip1", comp=3, aosym="s2kl", shls_slice=(shell, shell + 1, *whole, *whole, *whole))
        density = np.einsum("mp,pqk,nq->mnk", C_p[block], packed, C_q, optimize=True)
        density += np.einsum("mq,pqk,np->mnk", C_q[block], packed, C_p, optimize=True)
        gradient[block] = -np.einsum("xmnk,mnk->mx", integrals.reshape(3, *density.shape), density)
    return rows_by_atom(mol, gradient)
