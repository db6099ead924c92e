"""Electron repulsion in exact integrals: derivatives with orbitals and nuclei."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pyscf import ao2mo, lib
from pyscf.grad import rhf

from aiida_hqe.embedding.gradients.one_electron import over_atoms, traced_over_atoms
from aiida_hqe.embedding.gradients.pair_density import PairDensity
from aiida_hqe.embedding.gradients.repulsion import Pair, TwoParticle
from aiida_hqe.embedding.gradients.streamed import Streamed
from aiida_hqe.frames import Floats

BLOCK = 2e7
"""Elements of a block of integrals."""

KEPT = 1.25e8
"""Elements of all integrals up to which they are unpacked at once, 1 GB: about 125 basis functions."""


class Exact:
    """Exact two-electron integrals of a molecule.

    Parameters
    ----------
    mol
        PySCF molecule.
    integrals
        Its integrals, where they are in memory.
    omega
        For ``erf(omega r) / r`` in place of ``1 / r`` between pairs, or ``erfc(-omega r) / r`` where it is negative, 1/bohr.
    """

    def __init__(self, mol: Any, integrals: Any = None, omega: float | None = None) -> None:
        self.mol, self._omega = mol, omega
        self._integrals = integrals
        self._last: tuple[TwoParticle, Streamed | Floats] | None = None

    def at_range(self, omega: float) -> Exact:
        """Pairs in another operator."""
        return Exact(self.mol, omega=omega)

    def excitations(self, C_o: Floats, C_v: Floats) -> Floats:
        """``(ia|jb)``, (n_o, n_v, n_o, n_v)."""
        source = self.mol if self._integrals is None else self._integrals
        integrals = ao2mo.general(source, (C_o, C_v, C_o, C_v), compact=False)
        return np.asarray(integrals).reshape(2 * (C_o.shape[1], C_v.shape[1]))

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """See `Repulsion.contract`."""
        if isinstance(two.Gamma, PairDensity):
            energy, derivative = self._streamed(two).derivative()
            return energy, derivative, derivative
        half, C_p, C_q = self._half(two), two.C_p, two.C_q
        left = self._contracted(half, C_q)
        right = left if two.p == two.q else self._contracted(half.transpose(1, 0, 2), C_p)
        return 0.5 * float(np.sum(left * C_p)), left, right

    def _contracted(self, half: Floats, C: Floats) -> Floats:
        """``sum_qkl (m q|k l) Gamma_pq,kl`` (n_ao, n_p) from half-transformed ``Gamma`` (n_p, n_q, n_kl) and orbitals q."""
        found, flat = np.empty((len(C), len(half))), half.reshape(len(half), -1)
        for m, integrals in self._rows():
            found[m] = np.matmul(C.T, integrals).reshape(len(integrals), -1) @ flat.T
        return found

    def _rows(self) -> Iterator[tuple[slice, Floats]]:
        """Integrals ``(mn|kl)`` of some m, all n, and k >= l (n_m, n_ao, n_kl)."""
        mol, n, loc = self.mol, self.mol.nao, self.mol.ao_loc
        size = n**3 * (n + 1) // 2
        if self._integrals is not None and size < KEPT:
            every = lib.unpack_tril(ao2mo.restore(4, self._integrals, n), axis=0)
            for first, last in lib.prange(0, n, int(max(BLOCK * n / size, 1))):
                yield slice(first, last), every[first:last]
            return
        for shell in range(mol.nbas):
            shells = (shell, shell + 1, *(0, mol.nbas) * 3)
            integrals = mol.intor("int2e", aosym="s2kl", shls_slice=shells)
            yield slice(loc[shell], loc[shell + 1]), integrals.reshape(-1, n, n * (n + 1) // 2)

    def gradients(self, groups: list[list[Pair]], two: TwoParticle | None = None) -> Floats:
        """See `Repulsion.gradients`."""
        found = np.zeros((len(groups), self.mol.natm, 3))
        if two is not None and isinstance(two.Gamma, PairDensity):
            found[-1] += over_atoms(self.mol, self._streamed(two).rows())
        elif two is not None:  # the pairs of its group are met in the same pass over the integrals
            *groups, pairs = groups
            found[-1] += self._of_two(two, pairs)
        found[: len(groups)] += self._of_pairs(groups)
        return found

    def _of_pairs(self, groups: list[list[Pair]]) -> Floats:
        """Derivatives of groups of pairs (n_groups, n_atoms, 3)."""
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
        return gradients

    def _streamed(self, two: TwoParticle) -> Streamed:
        """The density half transformed on disk; the last one is kept."""
        if self._last is None or self._last[0] is not two:
            self._last = two, Streamed(self.mol, two.C_p, two.Gamma)
        assert isinstance(self._last[1], Streamed)
        return self._last[1]

    def _half(self, two: TwoParticle) -> Floats:
        """``Gamma_pq,kl + Gamma_pq,lk`` of pairs k > l, and of k = l half of it (n_p, n_q, n_kl); the last one is kept."""
        if self._last is None or self._last[0] is not two:
            n_p, n_q, n_r, n_s = two.Gamma.shape
            half = np.matmul(two.C_p, (two.Gamma.reshape(-1, n_s) @ two.C_q.T).reshape(n_p * n_q, n_r, -1))
            k, l = np.tril_indices(self.mol.nao)  # noqa: E741
            packed = lib.pack_tril(half + half.transpose(0, 2, 1))
            packed[:, k == l] *= 0.5
            self._last = two, packed.reshape(n_p, n_q, -1)
        assert isinstance(self._last[1], np.ndarray)
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

    def _of_two(self, two: TwoParticle, pairs: list[Pair]) -> Floats:
        """Derivative of a two-particle density that is in memory, and of pairs (n_atoms, 3)."""
        mol, (k, l) = self.mol, np.tril_indices(self.mol.nao)  # noqa: E741
        weights, half = np.where(k == l, 1.0, 2.0), self._half(two)
        orders = [(two.C_p, two.C_q, 2.0 * half)]
        if two.p != two.q:
            orders = [(two.C_p, two.C_q, half), (two.C_q, two.C_p, np.ascontiguousarray(half.transpose(1, 0, 2)))]
        rows, every, spared = np.zeros((mol.nao, 3)), (0, mol.nbas) * 3, _largest_atom(mol)
        for shell in range(mol.nbas):
            if mol.bas_atom(shell) == spared:
                continue
            m = slice(mol.ao_loc[shell], mol.ao_loc[shell + 1])
            integrals = mol.intor("int2e_ip1", comp=3, aosym="s2kl", shls_slice=(shell, shell + 1, *every))
            density = sum(_of_pair(pair, m, k, l) for pair in pairs) * weights
            for first, second, Gamma in orders:
                quarter = (first[m] @ Gamma.reshape(len(Gamma), -1)).reshape(-1, *Gamma.shape[1:])
                density = density + second @ quarter
            rows[m] -= np.einsum("xmnk,mnk->mx", integrals.reshape(3, *density.shape), density)
        gradient = over_atoms(mol, rows)
        gradient[spared] = -gradient.sum(axis=0)  # integrals do not change when all atoms move together
        return gradient


def _largest_atom(mol: Any) -> int:
    """The atom with the most basis functions."""
    return int(np.argmax([end - first for *_, first, end in mol.aoslice_by_atom()]))


def _of_pair(pair: Pair, m: slice, k: Any, l: Any) -> Floats:  # noqa: E741 (index of the derivation)
    """Four times the two-particle density of a pair (n_m, n_ao, n_kl), symmetric in k and l."""
    X, Y = pair.X, pair.Y
    found = 2.0 * pair.coulomb * (X[m, :, None] * Y[k, l] + Y[m, :, None] * X[k, l])
    for A, B in ((X, Y), (Y, X)) if pair.exchange else ():
        found -= 0.5 * pair.exchange * (A[m][:, None, k] * B[:, l] + A[m][:, None, l] * B[:, k])
    return np.asarray(found)
