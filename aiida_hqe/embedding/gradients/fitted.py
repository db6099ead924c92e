"""Electron repulsion in density-fitted integrals ``(mn|P) (P|Q)^{-1} (Q|ls)``, and derivatives with orbitals and nuclei.

The derivative of an energy that is quadratic in them is ``sum Gamma^P_mn (mn|P)^x - 1/2 sum gamma_PQ (P|Q)^x`` with
``gamma_PQ = sum_mn Gamma^P_mn B^Q_mn`` and ``B^P_mn = sum_Q (P|Q)^{-1} (Q|mn)``. What is in ``Gamma`` is a product of two vectors
(Coulomb) or has an occupied orbital (exchange, pairs of MP2): ``B`` is only ever made with one index in few orbitals. An integral
does not change when all three functions move, so that derivatives with the fitting functions follow from those with the orbitals.
Where ``(P|Q)`` is singular (the long-range operator), its inverse is that of the eigenvalues above a threshold, as in PySCF.
Integrals are packed over pairs m >= n of atomic orbitals.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from pyscf import df, lib
from pyscf.df.incore import LINEAR_DEP_THR

from aiida_hqe.embedding.gradients.one_electron import over_atoms
from aiida_hqe.embedding.gradients.repulsion import Pair, TwoParticle
from aiida_hqe.frames import Floats

BLOCK = 1e7
"""Elements of a block of integrals, each of the three directions of derivatives."""

SINGULAR = LINEAR_DEP_THR
"""Eigenvalues of a singular metric up to this one are left out, as PySCF leaves them out of its own integrals."""

KEPT = 2
"""Sets of orbitals whose half-transformed integrals are kept: all occupied ones of a core, and the correlated ones."""


class Fitted:
    """Fitted two-electron integrals.

    Parameters
    ----------
    mol, auxmol
        PySCF molecule, and the same with the auxiliary basis.
    omega
        For ``erf(omega r) / r`` in place of ``1 / r`` everywhere, or ``erfc(-omega r) / r`` where it is negative, 1/bohr.
    """

    def __init__(self, mol: Any, auxmol: Any, omega: float | None = None) -> None:
        self.mol, self.auxmol, self._omega = mol, auxmol, omega
        self._kept: list[tuple[Floats, Floats]] = []

    def at_range(self, omega: float) -> Fitted:
        """The same fitting functions with another operator."""
        return Fitted(self.mol, self.auxmol, omega)

    @cached_property
    def integrals(self) -> Floats:
        """``(P|mn)``, (n_auxiliary, n_pairs)."""
        with self._operator():
            return np.ascontiguousarray(df.incore.aux_e2(self.mol, self.auxmol, "int3c2e", aosym="s2ij").T)

    @cached_property
    def metric(self) -> Floats:
        """``(P|Q)``."""
        with self._operator():
            return np.asarray(self.auxmol.intor("int2c2e", hermi=1))

    def coulomb(self, X: Floats) -> Floats:
        """Coulomb potential of a density (n_ao, n_ao)."""
        return np.asarray(lib.unpack_tril(self._fitted_density(X) @ self.integrals))

    def response(self, C: Floats) -> Callable[[Floats], Floats]:
        """``X`` to ``[J(X) - K(X) / 2] C`` for few orbitals C (n_ao, n)."""
        H = self._half_fitted(C)

        def potential(X: Floats) -> Floats:
            XH = (X @ H.reshape(len(X), -1)).reshape(H.shape)
            return np.asarray(self.coulomb(X) @ C - 0.5 * self._applied(XH))

        return potential

    def fitted(self, left: Floats, right: Floats) -> Floats:
        """``B^P_pq`` between orbitals (n_auxiliary, n_p, n_q); the first set is the smaller one."""
        return np.einsum("mPp,mq->Ppq", self._half_fitted(left), right, optimize=True)

    def products(self, B: Floats) -> Floats:
        """``(pq|rs)`` from ``B^P_pq``, (n_p, n_q, n_p, n_q)."""
        flat = B.reshape(len(B), -1)
        return np.asarray(flat.T @ (self.metric @ flat)).reshape(2 * B.shape[1:])

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """See `Repulsion.contract`."""
        left = self._applied(np.einsum("mq,Ppq->mPp", two.C_q, two.Gamma, optimize=True))
        energy = 0.5 * float(np.sum(left * two.C_p))
        if two.p == two.q:
            return energy, left, left
        return energy, left, np.einsum("mPp,Ppq->mq", self._half(two.C_p), two.Gamma, optimize=True)

    def gradients(self, groups: list[list[Pair]], two: TwoParticle | None = None) -> Floats:
        """See `Repulsion.gradients`."""
        densities = [self._density(pairs) for pairs in groups]
        if two is not None:
            densities[-1].add(two.C_p, 0.5 * np.einsum("mq,Ppq->mPp", two.C_q, two.Gamma, optimize=True))
        rows = np.zeros((len(groups), 3, self.mol.nao))
        auxiliary_rows = np.zeros((len(groups), 3, self.auxmol.nao))
        for P, integrals in self._derivatives():
            for k, density in enumerate(densities):
                by_orbital, by_auxiliary = density.contract(P, integrals)
                rows[k] -= 2.0 * by_orbital
                auxiliary_rows[k][:, P] = 2.0 * by_auxiliary
        with self._operator():
            metric_x = self.auxmol.intor("int2c2e_ip1", comp=3)
        for k, density in enumerate(densities):
            auxiliary_rows[k] += np.einsum("xPQ,PQ->xP", metric_x, self._metric_density(density))
        return np.array(
            [
                over_atoms(self.mol, of_ao.T) + over_atoms(self.auxmol, of_aux.T)
                for of_ao, of_aux in zip(rows, auxiliary_rows, strict=True)
            ]
        )

    def _density(self, pairs: list[Pair]) -> _Density:
        """Three-index density of pairs."""
        density = _Density()
        for pair in pairs:
            if pair.coulomb:
                vectors = [self._fitted_density(X) for X in (pair.X, pair.Y)]
                density.products.append((vectors[0], pair.Y, vectors[1], pair.X))
            if pair.exchange:
                H = self._half_fitted(pair.C)
                density.add(pair.C, -pair.exchange * (pair.Y @ H.reshape(len(H), -1)).reshape(H.shape))
        return density

    def _fitted_density(self, X: Floats) -> Floats:
        """``sum_mn B^P_mn X_mn`` (n_auxiliary,)."""
        return self._solved(self._density_on_fitting(X))

    def _density_on_fitting(self, X: Floats) -> Floats:
        """``sum_mn (P|mn) X_mn`` (n_auxiliary,)."""
        folded = X[np.tril_indices(len(X))] * 2.0
        folded[np.cumsum(np.arange(1, len(X) + 1)) - 1] *= 0.5
        return np.asarray(self.integrals @ folded)

    def _half(self, C: Floats) -> Floats:
        """``(P|mi)`` as (n_ao, n_auxiliary, n)."""
        return np.ascontiguousarray(self._half_by_fitting(C).transpose(1, 0, 2))

    def _half_by_fitting(self, C: Floats) -> Floats:
        """``(P|mi)`` as (n_auxiliary, n_ao, n)."""
        half = np.empty((self.auxmol.nao, *C.shape))
        for P, b in self._unpacked():
            half[P] = (b.reshape(-1, len(C)) @ C).reshape(len(b), *C.shape)
        return half

    def _half_fitted(self, C: Floats) -> Floats:
        """``B^P_mi`` as (n_ao, n_auxiliary, n); those of the last orbitals asked for are kept."""
        for known, half in self._kept:
            if np.array_equal(known, C):
                return half
        plain, half = self._half_by_fitting(C), np.empty((len(C), self.auxmol.nao, C.shape[1]))
        for first, last in lib.prange(0, len(C), int(max(BLOCK / plain[:, 0].size, 1))):
            m = slice(first, last)
            half[m] = self._solved(plain[:, m].reshape(len(plain), -1)).reshape(plain[:, m].shape).transpose(1, 0, 2)
        self._kept = [(C, half), *self._kept[: KEPT - 1]]
        return half

    def _applied(self, W: Floats) -> Floats:
        """``sum_Pn (P|mn) W_nPi``, (n_ao, n)."""
        found = np.zeros((len(W), W.shape[2]))
        for P, b in self._unpacked():
            found += b.transpose(1, 0, 2).reshape(len(W), -1) @ W[:, P].transpose(1, 0, 2).reshape(-1, W.shape[2])
        return found

    def _unpacked(self) -> Iterator[tuple[slice, Floats]]:
        """Integrals ``(P|mn)`` in blocks (n_block, n_ao, n_ao)."""
        size = int(max(BLOCK / self.mol.nao**2, 1))
        for first in range(0, self.auxmol.nao, size):
            P = slice(first, min(first + size, self.auxmol.nao))
            yield P, lib.unpack_tril(self.integrals[P])

    def _metric_density(self, density: _Density) -> Floats:
        """``gamma_PQ`` that is contracted with derivatives of ``(P|Q)``, symmetric (n_auxiliary, n_auxiliary)."""
        if self._spectrum is None:
            return density.gamma(self._half_fitted, self._fitted_density)
        w, V = self._spectrum
        kept, left = w > SINGULAR, w <= SINGULAR
        G = V.T @ density.gamma(self._half, self._density_on_fitting) @ V
        found = np.zeros_like(G)
        found[np.ix_(kept, kept)] = G[np.ix_(kept, kept)] / w[kept]
        mixed = -G[np.ix_(kept, left)] / (w[kept][:, None] - w[left])
        found[np.ix_(kept, left)], found[np.ix_(left, kept)] = mixed, mixed.T
        return np.asarray(V @ found @ V.T)

    @cached_property
    def _factor(self) -> tuple[Floats, bool] | None:
        """Cholesky factor of the metric; ``None`` where it is singular."""
        try:
            return scipy.linalg.cho_factor(self.metric, lower=True)
        except scipy.linalg.LinAlgError:
            return None

    @cached_property
    def _spectrum(self) -> tuple[Floats, Floats] | None:
        """Eigenvalues and eigenvectors of a singular metric."""
        return scipy.linalg.eigh(self.metric) if self._factor is None else None

    def _solved(self, rows: Floats) -> Floats:
        """``sum_Q (P|Q)^{-1} rows_Q...`` for rows (n_auxiliary,) or (n_auxiliary, n), which may be overwritten."""
        if self._factor is not None:
            return np.asarray(scipy.linalg.cho_solve(self._factor, rows, overwrite_b=True, check_finite=False))
        assert self._spectrum is not None
        w, V = (part[..., self._spectrum[0] > SINGULAR] for part in self._spectrum)
        return np.asarray((V / w) @ (V.T @ rows))

    @contextmanager
    def _operator(self) -> Iterator[None]:
        """Integrals made inside are those of the operator."""
        with self.mol.with_range_coulomb(self._omega), self.auxmol.with_range_coulomb(self._omega):
            yield

    def _derivatives(self) -> Iterator[tuple[slice, Floats]]:
        """``(d_x m n|P)`` in blocks (3, n_block, n, m)."""
        mol, auxmol, offsets = self.mol, self.auxmol, self.auxmol.ao_loc
        first, most = 0, max(BLOCK / mol.nao**2, 1)
        for last in range(1, auxmol.nbas + 1):
            if last < auxmol.nbas and offsets[last + 1] - offsets[first] <= most:
                continue
            shells = (0, mol.nbas, 0, mol.nbas, first, last)
            with self._operator():
                integrals = df.incore.aux_e2(mol, auxmol, "int3c2e_ip1", comp=3, shls_slice=shells)
            yield slice(offsets[first], offsets[last]), integrals.transpose(0, 3, 2, 1)
            first = last


@dataclasses.dataclass(eq=False)
class _Density:
    """Three-index density ``Gamma^P = sum a_P Y + b_P X + sum_i (C_i Z^P_i^T + h.c.)``.

    Attributes
    ----------
    products
        Products (a, Y, b, X) of vectors (n_auxiliary,) and matrices (n_ao, n_ao).
    factors
        Pairs of orbitals C (n_ao, n) and Z (n_ao, n_auxiliary, n).
    """

    products: list[tuple[Floats, Floats, Floats, Floats]] = dataclasses.field(default_factory=list)
    factors: list[tuple[Floats, Floats]] = dataclasses.field(default_factory=list)

    def add(self, C: Floats, Z: Floats) -> None:
        """Add factors, those of the same orbitals to one another."""
        for k, (known, sum_of_Z) in enumerate(self.factors):
            if known is C:
                self.factors[k] = C, sum_of_Z + Z
                return
        self.factors.append((C, Z))

    def gamma(self, half: Callable[[Floats], Floats], vector: Callable[[Floats], Floats]) -> Floats:
        """Two-index density ``gamma_PQ = sum_mn Gamma^P_mn B^Q_mn``.

        From ``B`` with one index in few orbitals, ``half(C)_mQi``, and traced with a density, ``vector(X)_Q``.
        """
        n = len(self.products[0][0]) if self.products else self.factors[0][1].shape[1]
        gamma = np.zeros((n, n))
        for a, Y, b, X in self.products:
            gamma += np.outer(a, vector(Y)) + np.outer(b, vector(X))
        for C, Z in self.factors:
            for z, h in zip(Z, half(C), strict=True):
                gamma += 2.0 * z @ h.T
        return gamma

    def contract(self, P: slice, integrals: Floats) -> tuple[Floats, Floats]:
        """``sum_n (d_x m n|P) Gamma^P_mn`` summed over P (3, n_ao), and over m (3, n_block)."""
        flat = integrals.reshape(3, integrals.shape[1], -1)
        rows, columns = np.zeros((3, integrals.shape[3])), np.zeros(flat.shape[:2])
        for a, Y, b, X in self.products:
            for x in range(3):
                of_a, of_b = (np.stack([a[P], b[P]]) @ flat[x]).reshape(2, *X.shape)
                rows[x] += np.einsum("nm,nm->m", of_a, Y) + np.einsum("nm,nm->m", of_b, X)
                columns[x] += (flat[x] @ Y.ravel()) * a[P]
                columns[x] += (flat[x] @ X.ravel()) * b[P]
        if self.factors:
            density = self._block(P)
            for x in range(3):
                traced = np.einsum("Pnm,Pnm->Pm", integrals[x], density)
                rows[x] += traced.sum(axis=0)
                columns[x] += traced.sum(axis=1)
        return rows, columns

    def _block(self, P: slice) -> Floats:
        """The factors multiplied out (n_block, n_ao, n_ao)."""
        density = sum(np.matmul(Z[:, P].transpose(1, 0, 2), C.T) for C, Z in self.factors)
        return np.asarray(density + np.transpose(density, (0, 2, 1)))
