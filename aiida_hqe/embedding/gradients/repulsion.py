"""What of the electron repulsion is differentiated: pairs of densities, and a two-particle density that is no product."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np

from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two symmetric densities ``X = 2 C C^T`` and Y that repel each other: ``j tr X J(Y) - c/2 tr X K(Y)``.

    Attributes
    ----------
    C
        Doubly occupied orbitals (n_ao, n) of the first density.
    Y
        The second one (n_ao, n_ao), the occupation included.
    exchange
        ``c``: one in Hartree-Fock theory, the share of a hybrid, zero without exchange.
    coulomb
        ``j``: one, or zero for exchange alone.
    """

    C: Floats
    Y: Floats
    exchange: float
    coulomb: float = 1.0

    @property
    def X(self) -> Floats:
        """The first density (n_ao, n_ao)."""
        return np.asarray(2.0 * self.C @ self.C.T)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoParticle:
    """Two-particle density between pairs of orbitals (p, q) and (r, s) of the same two sets.

    Attributes
    ----------
    orbitals
        All embedded orbitals (n_ao, n).
    p, q
        Ranges of the two sets.
    Gamma
        With exact integrals ``Gamma_pqrs`` (n_p, n_q, n_p, n_q) of the energy ``1/2 sum Gamma_pqrs (pq|rs)``, unchanged when
        the pairs are exchanged, and when p and q are where both sets are the same, as an array or in blocks (`PairDensity`).
        With fitted ones ``Gamma^P_pq = sum_rs Gamma_pqrs B^P_rs``, (n_auxiliary, n_p, n_q).
    """

    orbitals: Floats
    p: slice
    q: slice
    Gamma: Any

    @property
    def C_p(self) -> Floats:
        """Orbitals of the first set."""
        return self.orbitals[:, self.p]

    @property
    def C_q(self) -> Floats:
        """Orbitals of the second set."""
        return self.orbitals[:, self.q]


class Repulsion(Protocol):
    """Electron repulsion in exact or in density-fitted integrals."""

    def contract(self, two: TwoParticle) -> tuple[float, Floats, Floats]:
        """Energy of `two`, and its derivatives with the orbitals of both sets, (n_ao, n_p) and (n_ao, n_q)."""

    def gradients(self, groups: list[list[Pair]], two: TwoParticle | None = None) -> Floats:
        """Derivatives with the nuclei at fixed densities and orbital coefficients (n_groups, n_atoms, 3), hartree/bohr.

        One for each group of pairs, all in one pass over the integrals; `two` belongs to the last group.
        """
