"""Electron repulsion in density-fitted integrals ``(mn|P) (P|Q)^{-1} (Q|ls)``: derivatives with orbitals and nuclei.

The derivative of an energy that is quadratic in them is ``sum Gamma^P_mn (mn|P)^x - 1/2 sum gamma_PQ (P|Q)^x`` with
``gamma_PQ = sum_mn Gamma^P_mn B^Q_mn`` and ``B^P_mn = sum_Q (P|Q)^{-1} (Q|mn)``: one three-index density holds all of it.
Three-index quantities are packed over pairs m >= n of atomic orbitals.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from pyscf import df, lib

from aiida_hqe.embedding.gradients.one_electron import over_atoms
from aiida_hqe.embedding.gradients.repulsion import Pair, TwoParticle
from aiida_hqe.frames import Floats

BLOCK = 2e7
"""Elements of a block of derivative integrals, each of the three directions."""


class Fitted:
    """Fitted two-electron integrals.

    Parameters
    ----------
    mol, auxmol
        PySCF molecule, and the same with the auxiliary basis.
    """

    def __init__(self, mol: Any, auxmol: Any) -> None:
        self.mol, self.auxmol = mol, auxmol

    @cached_property
    def integrals(self) -> Floats:
        """``(P|mn)``, (n_auxiliary, n_pairs)."""
        return np.ascontiguousarray(df.incore.aux_e2(self.mol, self.auxmol, "int3c2e", aosym="s2ij").T)

    @cached_property
    def coefficients(self) -> Floats:
        """``B^P_mn``, (n_auxiliary, n_pairs)."""
        metric = scipy.linalg.cho_factor(self.auxmol.intor("int2c2e"), lower=True)
        return np.asarray(scipy.linalg.cho_solve(metric, self.integrals))

    def fitted(self, left: Floats, right: Floats) -> Floats:
        """``B^P_pq`` between orbitals (n_auxiliary, n_p, n_q)."""
        return _between(self.coefficients, left, right)

    def excitations(self, C_o: Floats, C_v: Floats) -> Floats:
        """``(ia|jb)``, (n_o, n_v, n_o, n_v)."""
        integrals = _between(self.integrals, C_o, C_v)
        return np.einsum("Pia,Pjb->iajb", integrals, self.fitted(C_o, C_v), optimize=True)

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """See `Repulsion.contract`."""
        left, right = np.zeros_like(two.C_p), np.zeros_like(two.C_q)
        for row, Gamma in zip(self.integrals, two.Gamma, strict=True):
            b = lib.unpack_tril(row)
            left += b @ (two.C_q @ Gamma.T)
            right += b @ (two.C_p @ Gamma)
        return 0.5 * float(np.sum(left * two.C_p)), left, right

    def gradient(self, pairs: list[Pair], two: TwoParticle | None = None) -> Floats:
        """See `Repulsion.gradient`."""
        Gamma = np.zeros_like(self.coefficients)
        for pair in pairs:
            self._add_pair(Gamma, pair)
        if two is not None:
            for P, row in enumerate(two.Gamma):
                M = two.C_p @ row @ two.C_q.T
                Gamma[P] += _pack(0.5 * (M + M.T))
        return self._gradient(Gamma)

    def _add_pair(self, Gamma: Floats, pair: Pair) -> None:
        X, Y, weight = _pack(pair.X), _pack(pair.Y), _multiplicity(self.mol.nao)
        Gamma += np.outer(self.coefficients @ (weight * Y), X) + np.outer(self.coefficients @ (weight * X), Y)
        if not pair.exchange:
            return
        for P, row in enumerate(self.coefficients):
            XBY = pair.X @ lib.unpack_tril(row) @ pair.Y
            Gamma[P] -= 0.5 * pair.exchange * _pack(XBY + XBY.T)

    def _gradient(self, Gamma: Floats) -> Floats:
        mol, auxmol = self.mol, self.auxmol
        gamma = (Gamma * _multiplicity(mol.nao)) @ self.coefficients.T
        rows, auxiliary_rows = np.zeros((mol.nao, 3)), np.zeros((auxmol.nao, 3))
        for first, last in self._blocks():
            P = slice(auxmol.ao_loc[first], auxmol.ao_loc[last])
            density = np.asarray(lib.unpack_tril(Gamma[P]))
            shells = (0, mol.nbas, 0, mol.nbas, first, last)
            ip1 = df.incore.aux_e2(mol, auxmol, "int3c2e_ip1", comp=3, shls_slice=shells)
            rows -= 2.0 * np.einsum("xmnP,Pmn->mx", ip1, density, optimize=True)
            ip2 = df.incore.aux_e2(mol, auxmol, "int3c2e_ip2", comp=3, shls_slice=shells)
            auxiliary_rows[P] = -np.einsum("xmnP,Pmn->Px", ip2, density, optimize=True)
        auxiliary_rows += np.einsum("xPQ,PQ->Px", auxmol.intor("int2c2e_ip1", comp=3), gamma)
        return over_atoms(mol, rows) + over_atoms(auxmol, auxiliary_rows)

    def _blocks(self) -> list[tuple[int, int]]:
        """Ranges of auxiliary shells whose derivative integrals fit into a block."""
        offsets, most = self.auxmol.ao_loc, max(BLOCK / self.mol.nao**2, 1)
        cuts = [0]
        for shell in range(1, self.auxmol.nbas):
            if offsets[shell + 1] - offsets[cuts[-1]] > most:
                cuts.append(shell)
        return list(zip(cuts, [*cuts[1:], self.auxmol.nbas], strict=True))


def _between(packed: Floats, left: Floats, right: Floats) -> Floats:
    """A packed quantity between orbitals (n_auxiliary, n_left, n_right)."""
    result = np.empty((len(packed), left.shape[1], right.shape[1]))
    for P, row in enumerate(packed):
        result[P] = left.T @ lib.unpack_tril(row) @ right
    return result


def _pack(matrix: Floats) -> Floats:
    return matrix[np.tril_indices(len(matrix))]


def _multiplicity(n: int) -> Floats:
    """How often each packed element occurs in the matrix: once on the diagonal, twice elsewhere."""
    return _pack(2.0 - np.eye(n))
