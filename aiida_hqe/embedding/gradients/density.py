"""Unrelaxed densities of a core's wave function, in the embedded orbitals.

The energy is ``E_HF + tr F gamma + 1/2 sum Gamma_pqrs (pq|rs)`` with the Fock matrix F of the Hartree-Fock density: ``gamma`` is
the correlated change of the one-particle density, ``Gamma`` the part of the two-particle density that is no product of
one-particle densities.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from aiida_hqe.embedding.correlation import full_space
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.gradients.repulsion import TwoParticle
from aiida_hqe.embedding.gradients.truncation import Truncation, truncation
from aiida_hqe.embedding.meanfield import EmbeddedState
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class CoreDensity:
    """Densities of one core.

    Attributes
    ----------
    orbitals
        Canonical embedded orbitals (n_ao, n): frozen, correlated occupied, virtual.
    energies
        Their energies (n,), hartree.
    n_frozen, n_occupied
        Number of frozen, and of all occupied orbitals.
    gamma
        Correlated change of the one-particle density (n, n), symmetric, without orbital relaxation.
    two
        Two-particle density that is no product; ``None`` without correlation.
    end
        Where the correlated virtual orbitals end; ``None`` for all of them.
    truncation
        The virtual space's shells, where it is truncated: virtual orbitals are then kept ones, diagonal in the Fock matrix
        among themselves, and discarded ones.
    """

    orbitals: Floats
    energies: Floats
    n_frozen: int
    n_occupied: int
    gamma: Floats
    two: TwoParticle | None = None
    end: int | None = None
    truncation: Truncation | None = None

    @property
    def occupied(self) -> Floats:
        """Occupied orbitals (n_ao, n_occupied)."""
        return self.orbitals[:, : self.n_occupied]

    @property
    def virtual(self) -> Floats:
        """Virtual orbitals."""
        return self.orbitals[:, self.n_occupied :]

    def canonical(self) -> tuple[Floats, Floats, Floats]:
        """Canonical virtual orbitals and their energies, and those orbitals as combinations of `virtual` (n_v, n_v)."""
        C_v, e_v = self.virtual, self.energies[self.n_occupied :]
        if self.truncation is None:
            return C_v, e_v, np.eye(len(e_v))
        energies, turn = np.linalg.eigh(C_v.T @ self.truncation.fock @ C_v)
        return C_v @ turn, energies, turn


def repulsion_of(mf: Any) -> Exact | Fitted:
    """Integrals of a PySCF mean field."""
    with_df = getattr(mf, "with_df", None)
    if not with_df:
        return Exact(mf.mol, mf._eri)
    if with_df.auxmol is None:
        with_df.build()
    return Fitted(mf.mol, with_df.auxmol)


def hartree_fock_density(embedded: EmbeddedState, frozen_core: bool, n_virtuals: int | None = None) -> CoreDensity:
    """Density of the mean field, in the orbitals that a correlated one of so many virtual orbitals is made of."""
    space, end = full_space(embedded, frozen_core), None
    virtual, F = space.virtual[0], embedded.fock[0]
    cut = None if n_virtuals is None else truncation(embedded, virtual, n_virtuals)
    if cut is not None:
        kept, end = cut.kept, embedded.partition.n_core[0] + cut.kept.shape[1]
        virtual = np.hstack([kept @ np.linalg.eigh(kept.T @ F @ kept)[1], cut.shells[-1]])
    orbitals = np.hstack([space.frozen[0], space.occupied[0], virtual])
    energies = np.sum(orbitals * (F @ orbitals), axis=0)
    empty, n_frozen = np.zeros((len(energies), len(energies))), space.frozen[0].shape[1]
    return CoreDensity(orbitals, energies, n_frozen, embedded.partition.n_core[0], empty, end=end, truncation=cut)


def mp2_density(hartree_fock: CoreDensity, repulsion: Exact | Fitted) -> CoreDensity:
    """Second-order density: ``gamma_ij = -2 sum T_iakb t_jakb``, ``gamma_ab = 2 sum T_iajc t_ibjc``, ``Gamma_iajb = 4 T_iajb``.

    ``t_iajb = (ia|jb) / (e_i + e_j - e_a - e_b)`` and ``T_iajb = 2 t_iajb - t_ibja``. With fitted integrals the two-particle
    density is kept as ``Gamma^P_ia = 4 sum T_iajb B^P_jb``.
    """
    n_frozen, n = hartree_fock.n_frozen, hartree_fock.n_occupied
    o, v = slice(n_frozen, n), slice(n, hartree_fock.end)
    C, e = hartree_fock.orbitals, hartree_fock.energies
    if isinstance(repulsion, Fitted):
        B = repulsion.fitted(C[:, o], C[:, v])
        g = repulsion.products(B)
    else:
        g = repulsion.excitations(C[:, o], C[:, v])
    gap = e[o][:, None] - e[v][None]
    t = g / (gap[:, :, None, None] + gap)
    T = 2.0 * t - t.transpose(0, 3, 2, 1)
    gamma = np.zeros_like(hartree_fock.gamma)
    gamma[o, o] = -2.0 * np.einsum("iakb,jakb->ij", T, t, optimize=True)
    gamma[v, v] = 2.0 * np.einsum("iajc,ibjc->ab", T, t, optimize=True)
    Gamma = 4.0 * np.einsum("iajb,Pjb->Pia", T, B, optimize=True) if isinstance(repulsion, Fitted) else 4.0 * T
    return dataclasses.replace(hartree_fock, gamma=gamma, two=TwoParticle(C, o, v, Gamma))
