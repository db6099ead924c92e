"""Densities whose repulsion is differentiated: ``sum_k cJ_k tr X_k J(Y_k) - cK_k / 2 tr X_k K(Y_k)``."""

from __future__ import annotations

import dataclasses

from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two symmetric densities (n_ao, n_ao) that repel each other.

    Attributes
    ----------
    X, Y
        The densities, the occupation included.
    exchange
        Share of exchange: 1 in Hartree-Fock theory, that of the functional in a hybrid, 0 without.
    """

    X: Floats
    Y: Floats
    exchange: float
