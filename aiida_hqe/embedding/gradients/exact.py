"""Electron repulsion in exact integrals: derivatives with orbitals and nuclei."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf import ao2mo
from pyscf.grad import rhf

from aiida_hqe.embedding.gradients.one_electron import over_atoms, traced_over_atoms
from aiida_hqe.embedding.gradients.pair_density import PairDensity
from aiida_hqe.embedding.gradients.repulsion import Pair, TwoParticle
from aiida_hqe.embedding.gradients.streamed import Streamed
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
        self._last: tuple[TwoParticle, Streamed] | None = None

    def excitations(self, C_o: Floats, C_v: Floats) -> Floats:
        """``(ia|jb)``, (n_o, n_v, n_o, n_v)."""
        return self._transform(C_o, C_v, C_o, C_v)

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """See `Repulsion.contract`."""
        if isinstance(two.Gamma, PairDensity):
            energy, derivative = self._streamed(two).derivative()
            return energy, derivative, derivative
        C_p, C_q, every = two.C_p, two.C_q, np.eye(self.mol.nao)
        left = np.einsum("pqrs,mqrs->mp", two.Gamma, self._transform(every, C_q, C_p, C_q), optimize=True)
        if two.p == two.q:
            return 0.5 * float(np.sum(left * C_p)), left, left
        right = np.einsum("pqrs,mprs->mq", two.Gamma, self._transform(every, C_p, C_p, C_q), optimize=True)
        return 0.5 * float(np.sum(left * C_p)), left, right

    def _transform(self, *orbitals: Floats) -> Floats:
        integrals = ao2mo.general(self._source, orbitals, compact=False)
        return np.asarray(integrals).reshape([C.shape[1] for C in orbitals])

    def gradients(self, groups: list[list[Pair]], two: TwoParticle | None = None) -> Floats:
        """See `Repulsion.gradients`."""
        densities = {id(pair.C): pair.X for pairs in groups for pair in pairs}
        densities.update({id(pair.Y): pair.Y for pairs in groups for pair in pairs})
        potentials = self._potentials(densities, any(pair.exchange for pairs in groups for pair in pairs))
        gradients = np.zeros((len(groups), self.mol.natm, 3))
        for gradient, pairs in zip(gradients, groups, strict=True):
            for pair in pairs:
                for density, other in ((pair.X, id(pair.Y)), (pair.Y, id(pair.C))):
                    J, K = potentials[other]
                    derivative = pair.coulomb * J - 0.5 * pair.exchange * K
                    gradient += traced_over_atoms(self.mol, derivative, density)
        if two is not None:
            streamed = isinstance(two.Gamma, PairDensity)
            gradients[-1] += over_atoms(self.mol, self._streamed(two).rows() if streamed else self._of_two(two))
        return gradients

    def _streamed(self, two: TwoParticle) -> Streamed:
        """The density half transformed on disk; the last one is kept."""
        if self._last is None or self._last[0] is not two:
            self._last = two, Streamed(self.mol, two.C_p, two.Gamma)
        return self._last[1]

    def _potentials(self, densities: dict[int, Floats], exchange: bool) -> dict[int, tuple[Floats, Any]]:
        """Derivatives of Coulomb and exchange potentials with the first orbital (3, n_ao, n_ao), in one pass."""
        if not densities:
            return {}
        stacked = np.array(list(densities.values()))
        with self.mol.with_range_coulomb(self._omega):
            if exchange:
                J, K = rhf.get_jk(self.mol, stacked)
            else:
                J, K = rhf.get_j(self.mol, stacked), np.zeros(len(stacked))
        return dict(zip(densities, zip(J, K, strict=True), strict=True))

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
        return rows
