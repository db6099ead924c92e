"""Nuclear gradients of density-fitted electron repulsion ``(mn|P) (P|Q)^{-1} (Q|ls)`` by one three-index density.

The derivative of an energy that is quadratic in fitted integrals is ``sum Gamma^P_mn (mn|P)^x - 1/2 sum gamma_PQ (P|Q)^x`` with
``gamma_PQ = sum_mn Gamma^P_mn B^Q_mn`` and ``B^P_mn = sum_Q (P|Q)^{-1} (Q|mn)``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from pyscf import df, lib

from aiida_hqe.embedding.gradients.exact import rows_by_atom
from aiida_hqe.embedding.gradients.pairs import Pair
from aiida_hqe.frames import Floats


class Fitting:
    """Three-index integrals of a molecule in one auxiliary basis.

    Parameters
    ----------
    mol, auxmol
        Molecule, and the same with the auxiliary basis.
    """

    def __init__(self, mol: Any, auxmol: Any) -> None:
        self.mol, self.auxmol = mol, auxmol

    @cached_property
    def integrals(self) -> Floats:
        """``(P|mn)``, packed over pairs m >= n: (n_auxiliary, n_pairs)."""
        return np.ascontiguousarray(df.incore.aux_e2(self.mol, self.auxmol, "int3c2e", aosym="s2ij").T)

    @cached_property
    def coefficients(self) -> Floats:
        """``B^P_mn = sum_Q (P|Q)^{-1} (Q|mn)``, packed: (n_auxiliary, n_pairs)."""
        metric = scipy.linalg.cho_factor(self.auxmol.intor("int2c2e"), lower=True)
        return scipy.linalg.cho_solve(metric, self.integrals)

    def transform(self, packed: Floats, left: Floats, right: Floats) -> Floats:
        """Packed three-index quantity in orbitals, (n_auxiliary, n_left, n_right)."""
        result = np.empty((len(packed), left.shape[1], right.shape[1]))
        for P, row in enumerate(packed):
            result[P] = left.T @ lib.unpack_tril(row) @ right
        return result

    def densities(self, pairs: list[Pair]) -> Floats:
        """Three-index density ``Gamma^P_mn`` of the repulsion of pairs of densities (n_auxiliary, n_pairs), packed."""
        Gamma = np.zeros_like(self.coefficients)
        for pair in pairs:
            X, Y = (_pack(density) for density in (pair.X, pair.Y))
            Gamma += np.outer(self.coefficients @ _twice(Y), X) + np.outer(self.coefficients @ _twice(X), Y)
            if pair.exchange:
                self._add_exchange(Gamma, pair)
        return Gamma

    def _add_exchange(self, Gamma: Floats, pair: Pair) -> None:
        for P, row in enumerate(self.coefficients):
            XBY = pair.X @ lib.unpack_tril(row) @ pair.Y
            Gamma[P] -= 0.5 * pair.exchange * _pack(XBY + XBY.T)

    def back_transform(self, Gamma: Floats, C: Floats) -> Floats:
        """Three-index density of orbitals ``C`` (n_auxiliary, n, n), symmetric, as a packed one of atomic orbitals."""
        return np.array([_pack(C @ row @ C.T) for row in Gamma])

    def gradient(self, Gamma: Floats) -> Floats:
        """Gradient (n_atoms, 3) that belongs to a packed three-index density (n_auxiliary, n_pairs)."""
        mol, auxmol = self.mol, self.auxmol
        gamma = (Gamma * _twice_mask(mol.nao)) @ self.coefficients.T
        on_orbitals, on_auxiliary = np.zeros((mol.nao, 3)), np.zeros((auxmol.nao, 3))
        size = max(1, int(2e7 // mol.nao**2))
        for first, last in _blocks(auxmol, size):
            shells = (0, mol.nbas, 0, mol.nbas, first, last)
            P = slice(auxmol.ao_loc[first], auxmol.ao_loc[last])
            density = np.array([lib.unpack_tril(row) for row in Gamma[P]])
            ip1 = df.incore.aux_e2(mol, auxmol, "int3c2e_ip1", comp=3, shls_slice=_shifted(mol, shells))
            on_orbitals -= 2.0 * np.einsum("xmnP,Pmn->mx", ip1, density, optimize=True)
            ip2 = df.incore.aux_e2(mol, auxmol, "int3c2e_ip2", comp=3, shls_slice=_shifted(mol, shells))
            on_auxiliary[P] = -np.einsum("xmnP,Pmn->Px", ip2, density, optimize=True)
        on_auxiliary += np.einsum("xPQ,PQ->Px", auxmol.intor("int2c2e_ip1", comp=3), 0.5 * (gamma + gamma.T))
        return rows_by_atom(mol, on_orbitals) + rows_by_atom(auxmol, on_auxiliary)


def _shifted(mol: Any, shells: tuple[int, ...]) -> tuple[int, ...]:
    """Shell ranges of `aux_e2`, where auxiliary shells are numbered behind those of the molecule."""
    return (*shells[:4], shells[4] + mol.nbas, shells[5] + mol.nbas)


def _blocks(auxmol: Any, size: int) -> list[tuple[int, int]]:
    """Ranges of auxiliary shells with about `size` functions each."""
    blocks, first = [], 0
    for shell in range(1, auxmol.nbas + 1):
        if shell == auxmol.nbas or auxmol.ao_loc[shell + 1] - auxmol.ao_loc[first] > size:
            blocks.append((first, shell))
            first = shell
    return blocks


def _pack(matrix: Floats) -> Floats:
    return matrix[np.tril_indices(len(matrix))]


def _twice(packed: Floats) -> Floats:
    """Packed symmetric matrix with its off-diagonal elements doubled, for traces."""
    n = int(np.sqrt(2 * len(packed)))
    return packed * _twice_mask(n)


def _twice_mask(n: int) -> Floats:
    return _pack(2.0 - np.eye(n))
