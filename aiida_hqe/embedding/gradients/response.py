"""Linear responses of two-electron potentials: ``K[D](X)`` of the low level, ``G(X)`` of the high level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.meanfield import HartreeFock
from aiida_hqe.frames import Floats

Response = Callable[[Floats], Floats]
"""Symmetric density change (n_ao, n_ao) to the change of a potential (n_ao, n_ao)."""


def low_level(state: EnvironmentState, occupied: Floats) -> Response:
    """Response ``K[D]`` of the Kohn-Sham potential at the density ``D = 2 C C^T``, Coulomb, exchange and kernel f_xc.

    Parameters
    ----------
    state
        Closed-shell environment.
    occupied
        Doubly occupied orbitals C (n_ao, n) of the reference density, all of the environment's or those of a core.
    """
    occupations = np.full(occupied.shape[1], 2.0)
    return state.mf.gen_response(mo_coeff=occupied, mo_occ=occupations, singlet=None, hermi=1)


def high_level(high: HartreeFock) -> Response:
    """Response ``G(X) = J(X) - K(X) / 2`` of the Hartree-Fock potential, in the integrals of the high level."""

    def potential(X: Floats) -> Floats:
        J, K = high.mf.get_jk(high.mf.mol, X, hermi=1)
        return np.asarray(J - 0.5 * K)

    return potential
