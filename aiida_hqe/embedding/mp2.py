"""Second-order energy of an embedded core, restricted or unrestricted, exact or density-fitted, with singles."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from pyscf import ao2mo

from aiida_hqe.embedding import integrals
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """Correlated orbitals of each spin channel, diagonal in the Fock matrix within occupied and within virtual ones.

    Attributes
    ----------
    frozen, occupied, virtual
        Orbitals (n_ao, n) that are frozen, correlated occupied, and virtual.
    occupied_energies, virtual_energies
        Diagonal of the Fock matrix (hartree).
    singles
        Fock matrix between occupied and virtual orbitals; zero where the mean field is relaxed.
    """

    frozen: list[Floats]
    occupied: list[Floats]
    virtual: list[Floats]
    occupied_energies: list[Floats]
    virtual_energies: list[Floats]
    singles: list[Floats]

    @property
    def n_virtual(self) -> int:
        """Number of virtual orbitals of the (alpha) channel."""
        return self.virtual[0].shape[1]


def mp2_energy(mf: Any, space: Space) -> float:
    """MP2 correlation energy (hartree) with the singles term ``|f_ia|^2 / (e_i - e_a)``.

    Parameters
    ----------
    mf
        PySCF mean field whose two-electron integrals are used: density-fitted ones if it has them.
    """
    pairs = _pairs(mf, space)
    weight = 2.0 / len(space.occupied)
    energy = 0.0
    for spin, f in enumerate(space.singles):
        energy += weight * float(np.sum(f**2 / _denominator(space, spin)))
    if len(space.occupied) == 1:
        return energy + _energy(pairs[0, 0], space, 0, 0, direct=2.0, exchange=1.0)
    for spin in (0, 1):
        energy += _energy(pairs[spin, spin], space, spin, spin, direct=0.5, exchange=0.5)
    return energy + _energy(pairs[0, 1], space, 0, 1, direct=1.0, exchange=0.0)


def _denominator(space: Space, spin: int) -> Floats:
    return np.asarray(space.occupied_energies[spin][:, None] - space.virtual_energies[spin][None])


def _energy(ovov: Floats, space: Space, one: int, two: int, *, direct: float, exchange: float) -> float:
    """Sum over pairs of (ia|jb) [direct (ia|jb) - exchange (ib|ja)] / (e_i + e_j - e_a - e_b)."""
    e_one, e_two = _denominator(space, one), _denominator(space, two)
    energy = 0.0
    for i in range(ovov.shape[0]):
        g = ovov[i]
        t = g / (e_one[i][:, None, None] + e_two[None])
        energy += direct * float(np.sum(t * g))
        if exchange:
            energy -= exchange * float(np.einsum("ajb,bja->", t, g))
    return energy


def _pairs(mf: Any, space: Space) -> dict[tuple[int, int], Floats]:
    """Integrals (ia|jb) of each pair of spin channels, (n_i, n_a, n_j, n_b)."""
    n_spin = len(space.occupied)
    pairs = [(0, 0)] if n_spin == 1 else [(0, 0), (1, 1), (0, 1)]
    shapes = [(o.shape[1], v.shape[1]) for o, v in zip(space.occupied, space.virtual, strict=True)]
    if getattr(mf, "with_df", None):
        fitted = [integrals.between(mf.with_df, o, v) for o, v in zip(space.occupied, space.virtual, strict=True)]
        flat = [L.reshape(len(L), -1) for L in fitted]
        return {(s, t): (flat[s].T @ flat[t]).reshape(*shapes[s], *shapes[t]) for s, t in pairs}
    source = mf.mol if mf._eri is None else mf._eri
    return {
        (s, t): np.asarray(
            ao2mo.general(
                source, (space.occupied[s], space.virtual[s], space.occupied[t], space.virtual[t]), compact=False
            )
        ).reshape(*shapes[s], *shapes[t])
        for s, t in pairs
    }
