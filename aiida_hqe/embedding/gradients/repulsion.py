"""What of the electron repulsion is differentiated: pairs of densities, and a two-particle density that is no product."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two symmetric densities (n_ao, n_ao) that repel each other: ``j tr X J(Y) - c/2 tr X K(Y)``.

    Attributes
    ----------
    X, Y
        The densities, the occupation included.
    exchange
        ``c``: one in Hartree-Fock theory, the share of a hybrid, zero without exchange.
    coulomb
        ``j``: one, or zero for exchange alone.
    """

    X: Floats
    Y: Floats
    exchange: float
    coulomb: float = 1.0


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
        the pairs are exchanged, and when p and q are where both sets are the same. With fitted ones
        ``Gamma^P_pq = sum_rs Gamma_pqrs B^P_rs``, (n_auxiliary, n_p, n_q).
    """

    orbitals: Floats
    p: slice
    q: slice
    Gamma: Floats

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

    def gradient(self, pairs: list[Pair], two: TwoParticle | None = None) -> Floats:
        """Derivative with the nuclei at fixed densities and orbital coefficients (n_atoms, 3), hartree/bohr."""
