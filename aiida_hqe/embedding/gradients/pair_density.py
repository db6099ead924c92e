"""Two-particle density of coupled cluster in blocks of occupied (o) and virtual (v) orbitals, that of four virtual ones on disk.

Each block has the symmetry of real integrals: it does not change when the orbitals of a pair, or the two pairs, change places.
The energy is ``1/2 sum Gamma_pqrs (pq|rs)`` over all correlated orbitals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from pyscf import lib
from pyscf.cc import ccsd_rdm

from aiida_hqe.embedding.gradients.triples import Triples
from aiida_hqe.frames import Floats

BLOCK = 2e7
"""Elements of the block of four virtual orbitals that are read at a time."""


@dataclasses.dataclass(frozen=True, eq=False)
class PairDensity:
    """Blocks of the two-particle density.

    Attributes
    ----------
    oooo, ooov, oovv, ovov, ovvv
        Blocks in memory; pairs of virtual orbitals are packed, ``a >= b``.
    vvvv
        PySCF's block on disk (n_pairs, n_pairs): a quarter of the density, without the exchange of the pairs.
    file
        Temporary file that holds `vvvv` as long as this object lives.
    """

    oooo: Floats
    ooov: Floats
    oovv: Floats
    ovov: Floats
    ovvv: Floats
    vvvv: Any
    file: Any

    @property
    def n_virtual(self) -> int:
        """Number of virtual orbitals."""
        return self.ovov.shape[1]

    def fitted(self, B: Floats) -> Floats:
        """``Gamma^P_pq = sum_rs Gamma_pqrs B^P_rs`` (n_auxiliary, n, n) from fitted integrals of that shape."""
        n_o, n_P = len(self.oooo), len(B)
        oo, ov = B[:, :n_o, :n_o].reshape(n_P, -1), 2.0 * B[:, :n_o, n_o:].reshape(n_P, -1)
        vv = _packed(B[:, n_o:, n_o:])
        vv[:, ~_diagonal(self.n_virtual)] *= 2.0
        found = np.empty_like(B)
        same = oo @ _flat(self.oooo) + ov @ _flat(self.ooov).T + vv @ _flat(self.oovv).T
        found[:, :n_o, :n_o] = same.reshape(n_P, n_o, n_o)
        mixed = oo @ _flat(self.ooov) + ov @ _flat(self.ovov) + vv @ _flat(self.ovvv).T
        found[:, :n_o, n_o:] = mixed.reshape(n_P, n_o, -1)
        found[:, n_o:, :n_o] = found[:, :n_o, n_o:].transpose(0, 2, 1)
        packed = oo @ _flat(self.oovv) + ov @ _flat(self.ovvv)
        for columns, block in self._virtual():
            packed[:, columns] += 2.0 * vv @ block
        found[:, n_o:, n_o:] = lib.unpack_tril(packed)
        return found

    def rows(self, size: int) -> Iterator[Floats]:
        """``Gamma_pq,rs`` as matrices over r and s (n_rows, n, n), of pairs i >= j, then i, a, then a >= b, `size` at a time."""
        n_o, n_v = len(self.oooo), self.n_virtual
        i, j = np.tril_indices(n_o)
        yield self._matrices(self.oooo[i, j], self.ooov[i, j], self.oovv[i, j])
        for k in range(n_o):
            for first, last in lib.prange(0, n_v, size):
                a = slice(first, last)
                yield self._matrices(self.ooov[:, :, k, a].transpose(2, 0, 1), self.ovov[k, a], self.ovvv[k, a])
        for first, last in lib.prange(0, len(self.vvvv), size):
            ab = slice(first, last)
            vvvv = 2.0 * (np.asarray(self.vvvv[ab]) + np.asarray(self.vvvv[:, ab]).T)
            yield self._matrices(self.oovv[:, :, ab].transpose(2, 0, 1), self.ovvv[:, :, ab].transpose(2, 0, 1), vvvv)

    def dense(self) -> Floats:
        """All of it (n, n, n, n)."""
        n_o, n = len(self.oooo), len(self.oooo) + self.n_virtual
        Gamma, first = np.empty((n, n, n, n)), 0
        p, q = pairs_of_orbitals(n_o, n)
        for rows in self.rows(max(int(BLOCK / n**2), 1)):
            chosen = slice(first, first + len(rows))
            Gamma[p[chosen], q[chosen]] = Gamma[q[chosen], p[chosen]] = rows
            first += len(rows)
        return Gamma

    def _matrices(self, oo: Floats, ov: Floats, vv: Floats) -> Floats:
        """Rows as symmetric matrices (n_rows, n, n) from their blocks, the last one packed."""
        n_o = oo.shape[1]
        found = np.empty((len(oo), n_o + self.n_virtual, n_o + self.n_virtual))
        found[:, :n_o, :n_o], found[:, :n_o, n_o:] = oo, ov
        found[:, n_o:, :n_o] = ov.transpose(0, 2, 1)
        found[:, n_o:, n_o:] = lib.unpack_tril(np.ascontiguousarray(vv))
        return found

    def _virtual(self) -> Iterator[tuple[slice, Floats]]:
        """Columns of `vvvv` with the exchange of the pairs, in blocks."""
        n = len(self.vvvv)
        for first, last in lib.prange(0, n, int(max(BLOCK / n, 1))):
            columns = slice(first, last)
            yield columns, np.asarray(self.vvvv[:, columns]) + np.asarray(self.vvvv[columns]).T


def pair_density(solver: Any, amplitudes: tuple[Floats, ...], triples: Triples | None) -> PairDensity:
    """Two-particle density that is no product of one-particle densities, from amplitudes and multipliers t1, t2, l1, l2."""
    file = lib.H5TmpFile()
    ccsd_rdm._gamma2_outcore(solver, *amplitudes, file, compress_vvvv=True)
    dovov, doooo, doovv, dovvo, dovvv, dooov = (
        np.asarray(file[name]) for name in ("dovov", "doooo", "doovv", "dovvo", "dovvv", "dooov")
    )
    if triples is not None:
        dovov = dovov + triples.dovov
        dooov = dooov + triples.dooov
        dovvv = dovvv + triples.dovvv
    ovvo = dovvo.transpose(0, 1, 3, 2)
    return PairDensity(
        oooo=4.0 * _symmetric(doooo),
        ooov=0.5 * (dooov + dooov.transpose(1, 0, 2, 3)),
        oovv=_packed_pairs(0.5 * (doovv + doovv.transpose(1, 0, 2, 3))),
        ovov=0.5 * (dovov + dovov.transpose(2, 3, 0, 1) + ovvo + ovvo.transpose(2, 3, 0, 1)),
        ovvv=_packed_pairs(0.5 * dovvv),
        vvvv=file["dvvvv"],
        file=file,
    )


def pairs_of_orbitals(n_o: int, n: int) -> tuple[Any, Any]:
    """Both orbitals of each pair, in the order of `PairDensity.rows`."""
    i, j = np.tril_indices(n_o)
    k, a = np.mgrid[:n_o, n_o:n].reshape(2, -1)
    b, c = np.tril_indices(n - n_o)
    return np.concatenate([i, k, n_o + b]), np.concatenate([j, a, n_o + c])


def _packed_pairs(X: Floats) -> Floats:
    """``X + X'``, with the last two indices exchanged in the second, packed."""
    flat = X.reshape(-1, *X.shape[2:])
    return lib.pack_tril(flat + flat.transpose(0, 2, 1)).reshape(*X.shape[:2], -1)


def _symmetric(X: Floats) -> Floats:
    """Mean over the symmetries of real integrals."""
    X = X + X.transpose(1, 0, 2, 3)
    X = X + X.transpose(0, 1, 3, 2)
    return 0.125 * (X + X.transpose(2, 3, 0, 1))


def _packed(X: Floats) -> Floats:
    return np.asarray(lib.pack_tril(np.ascontiguousarray(X)))


def _diagonal(n: int) -> Any:
    return np.equal(*np.tril_indices(n))


def _flat(X: Floats) -> Floats:
    """A block as a matrix between pairs; the second pair may be packed."""
    return X.reshape(X.shape[0] * X.shape[1], -1)
