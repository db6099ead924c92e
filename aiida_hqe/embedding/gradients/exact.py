"""Electron repulsion in exact integrals: derivatives with orbitals and nuclei."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from pyscf import ao2mo
from pyscf.grad import rhf

from aiida_hqe.embedding.gradients.one_electron import over_atoms, traced_over_atoms
from aiida_hqe.embedding.gradients.repulsion import Pair, TwoParticle
from aiida_hqe.frames import Floats


class Exact:
    """Exact two-electron integrals of a molecule.

    Parameters
    ----------
    mol
        PySCF molecule.
    integrals
        Its integrals, where they are in memory.
    omega
        For the long-range operator ``erf(omega r) / r`` in place of ``1 / r`` between pairs, 1/bohr.
    """

    def __init__(self, mol: Any, integrals: Any = None, omega: float | None = None) -> None:
        self.mol, self._omega = mol, omega
        self._source = mol if integrals is None else integrals

    def excitations(self, C_o: Floats, C_v: Floats) -> Floats:
        """``(ia|jb)``, (n_o, n_v, n_o, n_v)."""
        return self._transform(C_o, C_v, C_o, C_v)

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """See `Repulsion.contract`."""
        C_p, C_q, every = two.C_p, two.C_q, np.eye(self.mol.nao)
        left = np.einsum("pqrs,mqrs->mp", two.Gamma, self._transform(every, C_q, C_p, C_q), optimize=True)
        if two.p == two.q:
            return 0.5 * float(np.sum(left * C_p)), left, left
        right = np.einsum("pqrs,mprs->mq", two.Gamma, self._transform(every, C_p, C_p, C_q), optimize=True)
        return 0.5 * float(np.sum(left * C_p)), left, right

    def _transform(self, *orbitals: Floats) -> Floats:
        integrals = ao2mo.general(self._source, orbitals, compact=False)
        return np.asarray(integrals).reshape([C.shape[1] for C in orbitals])

    def gradient(self, pairs: list[Pair], two: TwoParticle | None = None) -> Floats:
        """See `Repulsion.gradient`."""
        gradient = self._of_pairs(pairs)
        return gradient if two is None else gradient + self._of_two(two)

    def _of_pairs(self, pairs: list[Pair]) -> Floats:
        densities = np.array(list(itertools.chain.from_iterable((pair.X, pair.Y) for pair in pairs)))
        with self.mol.with_range_coulomb(self._omega):
            if any(pair.exchange for pair in pairs):
                J, K = rhf.get_jk(self.mol, densities)
            else:
                J = rhf.get_j(self.mol, densities)
                K = np.zeros_like(J)
        gradient = np.zeros((self.mol.natm, 3))
        for k, pair in enumerate(pairs):
            x, y = (pair.coulomb * J[i] - 0.5 * pair.exchange * K[i] for i in (2 * k, 2 * k + 1))
            gradient += traced_over_atoms(self.mol, y, pair.X) + traced_over_atoms(self.mol, x, pair.Y)
        return gradient

    def _of_two(self, two: TwoParticle) -> Floats:
        mol, lower = self.mol, np.tril_indices(self.mol.nao)
        half = np.einsum("pqrs,mr,ns->pqmn", two.Gamma, two.C_p, two.C_q, optimize=True)
        half = half + half.transpose(0, 1, 3, 2)
        half = np.ascontiguousarray((half * (1.0 - 0.5 * np.eye(mol.nao)))[:, :, lower[0], lower[1]])
        orders = [(two.C_p, two.C_q, 2.0 * half)]
        if two.p != two.q:
            orders = [(two.C_p, two.C_q, half), (two.C_q, two.C_p, np.ascontiguousarray(half.transpose(1, 0, 2)))]
        rows, every = np.zeros((mol.nao, 3)), (0, mol.nbas) * 3
        for shell in range(mol.nbas):
            m = slice(mol.ao_loc[shell], mol.ao_loc[shell + 1])
            integrals = mol.intor("int2e_ip1", comp=3, aosym="s2kl", shls_slice=(shell, shell + 1, *every))
            for first, second, Gamma in orders:
                quarter = (first[m] @ Gamma.reshape(len(Gamma), -1)).reshape(-1, *Gamma.shape[1:])
                density = second @ quarter
                rows[m] -= np.einsum("xmnk,mnk->mx", integrals.reshape(3, *density.shape), density)
        return over_atoms(mol, rows)
