"""Exact integrals with a two-particle density that is too large for memory: half transformed on disk, contracted in blocks.

``Gamma_pq,kl`` has a pair of correlated orbitals and a pair k >= l of atomic ones. It is written in rows, pair by pair of
orbitals, and read in columns, shell by shell of k; integrals are made as they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pyscf import lib

from aiida_hqe.embedding.gradients.pair_density import PairDensity, pairs_of_orbitals
from aiida_hqe.frames import Floats

BLOCK = 2e7
"""Elements of a block of integrals, each of the three directions of derivatives."""

CHUNK = (256, 2048)
"""Rows and columns that lie together on disk."""


class Streamed:
    """Two-particle density of orbitals C (n_ao, n), half transformed.

    Parameters
    ----------
    mol
        PySCF molecule.
    C
        Correlated orbitals, occupied ones first.
    density
        The density in blocks.
    """

    def __init__(self, mol: Any, C: Floats, density: PairDensity) -> None:
        self._mol, self._C = mol, C
        n, n_pairs = C.shape[1], mol.nao * (mol.nao + 1) // 2
        self._pairs = pairs_of_orbitals(len(density.oooo), n)
        self._file = lib.H5TmpFile()
        shape = (len(self._pairs[0]), n_pairs)
        chunk = (min(CHUNK[0], shape[0]), min(CHUNK[1], shape[1]))
        self._half = self._file.create_dataset("half", shape, "f8", chunks=chunk)
        first = 0
        for rows in density.rows(max(int(BLOCK / mol.nao**2), 1)):
            transformed = np.matmul(np.matmul(C, rows), C.T)
            self._half[first : first + len(rows)] = lib.pack_tril(transformed)
            first += len(rows)

    def derivative(self) -> tuple[float, Floats]:
        """Energy, and its derivative with the orbitals of each pair, ``sum (m q|r s) Gamma_pqrs`` (n_ao, n)."""
        C, found = self._C, np.zeros_like(self._C)
        for integrals, weights, density in self._blocks("int2e", 1):
            right = np.matmul(C, density * weights[:, None, None])
            for K, X in zip(integrals[0], right, strict=True):
                found += K @ X
        return 0.5 * float(np.sum(found * C)), found

    def rows(self) -> Floats:
        """Derivative with the atomic orbitals (n_ao, 3)."""
        C, found = self._C, np.zeros((self._mol.nao, 3))
        for integrals, weights, density in self._blocks("int2e_ip1", 3):
            whole = np.matmul(np.matmul(C, density * weights[:, None, None]), C.T)
            found -= 2.0 * np.einsum("xkmn,kmn->mx", integrals, whole)
        return found

    def _blocks(self, name: str, comp: int) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Integrals (comp, n_kl, m, n), weights (n_kl,) of pairs k >= l, and density (n_kl, n, n)."""
        mol, n, most = self._mol, self._C.shape[1], BLOCK / self._mol.nao**2
        for k_first, k_last in self._shells(0, mol.nbas, most / mol.nao):
            k_0, k_1 = mol.ao_loc[k_first], mol.ao_loc[k_last]
            start = k_0 * (k_0 + 1) // 2
            columns = np.asarray(self._half[:, start : k_1 * (k_1 + 1) // 2])
            for l_first, l_last in self._shells(0, k_last, most / (k_1 - k_0)):
                l_0, l_1 = mol.ao_loc[l_first], mol.ao_loc[l_last]
                k, m = np.mgrid[k_0:k_1, l_0:l_1].reshape(2, -1)
                k, m = k[k >= m], m[k >= m]
                chosen = columns[:, k * (k + 1) // 2 + m - start].T
                density = np.empty((len(k), n, n))
                density[:, self._pairs[0], self._pairs[1]] = chosen
                density[:, self._pairs[1], self._pairs[0]] = chosen
                shells = (0, mol.nbas, 0, mol.nbas, k_first, k_last, l_first, l_last)
                integrals = mol.intor(name, comp=comp, shls_slice=shells)
                integrals = integrals.reshape(comp, mol.nao, mol.nao, k_1 - k_0, l_1 - l_0)[:, :, :, k - k_0, m - l_0]
                yield integrals.transpose(0, 3, 1, 2), np.where(k == m, 1.0, 2.0), density

    def _shells(self, first: int, end: int, most: float) -> Iterator[tuple[int, int]]:
        """Ranges of shells with at most so many orbitals, or one shell."""
        loc = self._mol.ao_loc
        for last in range(first + 1, end + 1):
            if last == end or loc[last + 1] - loc[first] > most:
                yield first, last
                first = last
