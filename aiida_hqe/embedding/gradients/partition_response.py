"""Response of SPADE's partition: how a core's energy depends on the occupied Kohn-Sham orbitals and on the overlap matrix."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.linalg

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients.relaxation import Relaxed
from aiida_hqe.embedding.gradients.response import LowLevel, Request
from aiida_hqe.embedding.localization import owners_of
from aiida_hqe.embedding.meanfield import EmbeddedState
from aiida_hqe.embedding.partition import Partition
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class PartitionResponse:
    """What one core leaves for the environment's orbitals and for the overlap.

    Attributes
    ----------
    T
        Right-hand side ``T'_vi`` of the environment's z-vector equations in canonical orbitals (n_v, n_o).
    X
        Matrix that overlap derivatives are contracted with (n_ao, n_ao).
    """

    T: Floats
    X: Floats


def respond(embedded: EmbeddedState, relaxed: Relaxed, orbitals: Floats, low: LowLevel) -> PartitionResponse:
    """Derivative of a core's energy, without that of the environment, with the Kohn-Sham orbitals.

    Parameters
    ----------
    embedded
        Mean field of the core; its partition is SPADE's, whose orbitals diagonalise the core's weight.
    relaxed
        Relaxed wave function.
    orbitals
        Embedded orbitals of `relaxed` (n_ao, n).
    low
        Response of the low level.
    """
    state, partition = embedded.state, embedded.partition
    S, C_A, C_B, C_v = state.overlap, partition.core[0], partition.environment[0], state.virtual(0)
    F = state.hcore + state.own_potential[0][0]
    I_c, I_B = orbitals.T @ relaxed.I, C_B.T @ relaxed.I
    of_A, of_B = _changes(partition, low, state.occupied(0), relaxed.density - 2.0 * C_A @ C_A.T)
    G_A, G_B = 4.0 * (of_A - F @ C_A), 4.0 * of_B - S @ orbitals @ I_B.T
    weight = Weight(state, partition)
    z = (C_A.T @ G_B - G_A.T @ C_B) / weight.gap
    W = weight.matrix
    T = (C_v.T @ (G_A - W @ C_B @ z.T)) @ (C_A.T @ S @ state.occupied(0))
    T += (C_v.T @ (G_B - W @ C_A @ z)) @ (C_B.T @ S @ state.occupied(0))
    X = -0.5 * orbitals @ I_c @ orbitals.T - C_B @ I_B @ orbitals.T
    X += -0.5 * C_A @ (C_A.T @ G_A) @ C_A.T - 0.5 * C_B @ (C_B.T @ G_B) @ C_B.T - C_A @ (G_A.T @ C_B) @ C_B.T
    X += C_A @ z @ (C_B.T @ W @ C_B) @ C_B.T
    if relaxed.X is not None:
        X += relaxed.X
    return PartitionResponse(T, 0.5 * (X + X.T) + weight.root_derivative(-0.5 * (C_A @ z @ C_B.T + C_B @ z.T @ C_A.T)))


def _changes(partition: Partition, low: LowLevel, C_o: Floats, Delta: Floats) -> tuple[Floats, Floats]:
    """``(K[D](Delta) - K[D_A](Delta)) C_A``, where repulsion cancels, and ``K[D](Delta) C_B``."""
    C_A, C_B = partition.core[0], partition.environment[0]
    of_all, of_A = low.kernel([Request(C_o, Delta, np.hstack([C_A, C_B])), Request(C_A, Delta, C_A)])
    n = C_A.shape[1]
    return of_all[:, :n] - of_A, of_all[:, n:] + low.repelled(Delta) @ C_B


class Weight:
    """Weight of orbitals on the core atoms, ``W = R Pi R`` with ``R = S^{1/2}`` and Pi the projector on their functions.

    Attributes
    ----------
    matrix
        ``W`` (n_ao, n_ao).
    gap
        ``sigma_a^2 - sigma_b^2`` between orbitals of the core and of the environment (n_A, n_B).
    """

    def __init__(self, state: EnvironmentState, partition: Partition) -> None:
        s, self._V = scipy.linalg.eigh(state.overlap)
        self._r = np.sqrt(s)
        self._R = (self._V * self._r) @ self._V.T
        self._Pi = np.isin(owners_of(state.mol), partition.atoms).astype(float)
        self.matrix = (self._R * self._Pi) @ self._R
        a, b = (np.sum(C * (self.matrix @ C), axis=0) for C in (partition.core[0], partition.environment[0]))
        self.gap = a[:, None] - b[None]

    def root_derivative(self, N: Floats) -> Floats:
        """Matrix ``Omega`` with ``tr Omega S^x = tr N (R^x Pi R + R Pi R^x)`` for symmetric ``N`` (n_ao, n_ao)."""
        half = self._Pi[:, None] * (self._R @ N)
        Q = self._V.T @ (half + half.T) @ self._V
        return np.asarray(self._V @ (Q / (self._r[:, None] + self._r[None])) @ self._V.T)
