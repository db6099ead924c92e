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
    """

    orbitals: Floats
    energies: Floats
    n_frozen: int
    n_occupied: int
    gamma: Floats
    two: TwoParticle | None = None

    @property
    def occupied(self) -> Floats:
        """Occupied orbitals (n_ao, n_occupied)."""
        return self.orbitals[:, : self.n_occupied]

    @property
    def virtual(self) -> Floats:
        """Virtual orbitals."""
        return self.orbitals[:, self.n_occupied :]


def repulsion_of(mf: Any) -> Exact | Fitted:
    """Integrals of a PySCF mean field."""
    with_df = getattr(mf, "with_df", None)
    if not with_df:
        return Exact(mf.mol, mf._eri)
    if with_df.auxmol is None:
        with_df.build()
    return Fitted(mf.mol, with_df.auxmol)


def hartree_fock_density(embedded: EmbeddedState, frozen_core: bool) -> CoreDensity:
    """Density of the mean field, in the orbitals that a correlated one is made of."""
    space = full_space(embedded, frozen_core)
    orbitals = np.hstack([space.frozen[0], space.occupied[0], space.virtual[0]])
    energies = np.sum(orbitals * (embedded.fock[0] @ orbitals), axis=0)
    empty = np.zeros((len(energies), len(energies)))
    return CoreDensity(orbitals, energies, space.frozen[0].shape[1], embedded.partition.n_core[0], empty)


def mp2_density(hartree_fock: CoreDensity, repulsion: Exact | Fitted) -> CoreDensity:
    """Second-order density: ``gamma_ij = -2 sum T_iakb t_jakb``, ``gamma_ab = 2 sum T_iajc t_ibjc``, ``Gamma_iajb = 4 T_iajb``.

    ``t_iajb = (ia|jb) / (e_i + e_j - e_a - e_b)`` and ``T_iajb = 2 t_iajb - t_ibja``. With fitted integrals the two-particle
    density is kept as ``Gamma^P_ia = 4 sum T_iajb B^P_jb``.
    """
    n_frozen, n = hartree_fock.n_frozen, hartree_fock.n_occupied
    o, v = slice(n_frozen, n), slice(n, None)
    C, e = hartree_fock.orbitals, hartree_fock.energies
    fitted = repulsion.fitted(C[:, o], C[:, v]) if isinstance(repulsion, Fitted) else None
    g = repulsion.excitations(C[:, o], C[:, v])
    gap = e[o][:, None] - e[v][None]
    t = g / (gap[:, :, None, None] + gap)
    T = 2.0 * t - t.transpose(0, 3, 2, 1)
    gamma = np.zeros_like(hartree_fock.gamma)
    gamma[o, o] = -2.0 * np.einsum("iakb,jakb->ij", T, t, optimize=True)
    gamma[v, v] = 2.0 * np.einsum("iajc,ibjc->ab", T, t, optimize=True)
    Gamma = 4.0 * T if fitted is None else 4.0 * np.einsum("iajb,Pjb->Pia", T, fitted, optimize=True)
    return dataclasses.replace(hartree_fock, gamma=gamma, two=TwoParticle(C, o, v, Gamma))
