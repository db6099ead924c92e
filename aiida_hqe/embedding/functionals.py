"""Energy functionals of embedding: what a core's mean field adds to the environment's energy, and the operator it feels.

``E2`` is the two-electron part of an energy, ``v`` its derivative; subscripts KS and HF name the low and the high level,
``D = D_A + D_B`` the Kohn-Sham density split into core and environment, ``g`` the density of the embedded core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.partition import Partition
from aiida_hqe.frames import Floats

Potential = Callable[[Floats], tuple[Floats, float]]
"""Density (n_spin, n_ao, n_ao) to the two-electron potential (same shape) and energy (hartree)."""


class Functional(Protocol):
    """An energy functional of the core's density."""

    operator: Floats

    def __call__(self, density: Floats) -> tuple[Floats, float]:
        """Fock matrix (n_spin, n_ao, n_ao) and what the core's mean field adds to the environment's energy (hartree)."""


class Linear:
    """Mean field in the fixed embedding potential of the Kohn-Sham densities, energy corrected to first order.

    ``E[g] = -tr h D_A - E2_KS[D_A] - tr v_emb D_A + tr (h + v_emb) g + E2_HF[g]`` with
    ``v_emb = v_KS[D] - v_KS[D_A]``; `operator` is ``h + v_emb``.
    F. R. Manby et al., J. Chem. Theory Comput. 2012, 8, 2564, doi:10.1021/ct300544e.
    """

    def __init__(self, state: EnvironmentState, partition: Partition, high: Potential) -> None:
        D_A = state.density_of(partition.core)
        v_A, e_A = state.potential(D_A)
        embedding = state.own_potential[0] - v_A
        self.operator = state.hcore + embedding
        self._high = high
        self._constant = -_trace(self.operator, D_A) - e_A

    def __call__(self, density: Floats) -> tuple[Floats, float]:
        """Fock matrix and added energy."""
        v, e = self._high(density)
        return self.operator + v, self._constant + _trace(self.operator, density) + e


class Nonlinear:
    """Mean field in the embedding potential of its own relaxed density.

    ``E[g] = E_KS[g + D_B] - E_KS[g] + E_HF[g] - E_KS[D]``; `operator` is ``h + v_KS[g + D_B] - v_KS[g]`` at the density of
    the last call. D_B stays frozen.
    """

    def __init__(self, state: EnvironmentState, partition: Partition, high: Potential) -> None:
        self._state, self._high = state, high
        self._environment = state.density_of(partition.environment)
        self._constant = -_trace(state.hcore, state.density) - state.own_potential[1]
        self.operator = state.hcore

    def __call__(self, density: Floats) -> tuple[Floats, float]:
        """Fock matrix and added energy."""
        whole = density + self._environment
        v_whole, e_whole = self._state.potential(whole)
        v_core, e_core = self._state.potential(density)
        v, e = self._high(density)
        self.operator = self._state.hcore + v_whole - v_core
        energy = self._constant + _trace(self._state.hcore, whole) + e_whole - e_core + e
        return self.operator + v, energy


FUNCTIONALS: dict[str, type[Linear] | type[Nonlinear]] = {"linear": Linear, "nonlinear": Nonlinear, "static": Linear}
"""Functional by name; `static` is `Linear` evaluated at the unrelaxed Kohn-Sham density, ``E2_HF[D_A] - E2_KS[D_A]``."""


def _trace(operator: Floats, density: Floats) -> float:
    return float(np.sum(operator * density))
