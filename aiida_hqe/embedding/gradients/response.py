"""Linear responses of two-electron potentials on orbitals: ``K[D](X) C`` of the low level, ``G(X) C`` of the high level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients import grid
from aiida_hqe.embedding.gradients.density import repulsion_of
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.meanfield import HartreeFock
from aiida_hqe.frames import Floats

Response = Callable[[Floats], Floats]
"""Symmetric density change (n_ao, n_ao) to the change of a potential on some orbitals (n_ao, n)."""

ROUGH_LEVEL = 0
"""Level of the grid whose kernel preconditions the z-vector equations of the environment."""


@dataclasses.dataclass(frozen=True, eq=False)
class Request:
    """One response of the exchange-correlation potential: ``f_xc[2 C C^T](X)`` on some orbitals.

    Attributes
    ----------
    reference
        Doubly occupied orbitals C (n_ao, n_C).
    X
        Change of the density, symmetric (n_ao, n_ao), or a pair (L, R) of orbitals for the symmetric part of ``L R^T``.
    orbitals
        What the potential acts on (n_ao, n).
    """

    reference: Floats
    X: Floats | tuple[Floats, Floats]
    orbitals: Floats


class LowLevel:
    """Response of the Kohn-Sham potential: Coulomb, exchange and kernel.

    Parameters
    ----------
    state
        Closed-shell environment.
    """

    def __init__(self, state: EnvironmentState) -> None:
        self._state, self._mf = state, state.mf
        self.exchange = exchange_shares(state.mf)
        self.repulsion = repulsion_of(state.mf)
        self._kernels: dict[bool, list[Floats]] = {True: [], False: []}

    def repelled(self, X: Floats) -> Floats:
        """Coulomb and exchange potential of a density change (n_ao, n_ao)."""
        if not self.exchange and isinstance(self.repulsion, Fitted):
            return self.repulsion.coulomb(X)
        potential = np.asarray(self._mf.get_j(self._state.mol, X, hermi=1))
        for share, omega in self.exchange:
            potential = potential - 0.5 * share * self._mf.get_k(self._state.mol, X, hermi=1, omega=omega)
        return potential

    def kernel(self, requests: list[Request], *, rough: bool = False) -> list[Floats]:
        """Responses of the exchange-correlation potential in one pass over the grid, (n_ao, n) each."""
        state, kind = self._state, grid.kind_of(self._state)
        found = [np.zeros_like(request.orbitals) for request in requests]
        if kind == "HF":
            return found
        points = self._rough if rough else self._mf.grids
        kernels = [self._kernel_at(request.reference, rough) for request in requests]
        for k, block in enumerate(grid.blocks(state, points, 0 if kind == "LDA" else 1)):
            known: dict[int, Floats] = {}

            def on_points(C: Floats, ao: Floats = block.ao, known: dict[int, Floats] = known) -> Floats:
                if id(C) not in known:
                    known[id(C)] = grid.orbitals_on(ao, C, kind)
                return known[id(C)]

            for request, response, kernel in zip(requests, found, kernels, strict=True):
                if k == len(kernel):
                    phi = on_points(request.reference)
                    fxc = grid.functional(state, 2.0 * grid.density_of_pairs(phi, phi, kind), kind)[2]
                    kernel.append(block.weights * fxc)
                if isinstance(request.X, tuple):
                    rho = grid.density_of_pairs(on_points(request.X[0]), on_points(request.X[1]), kind)
                else:
                    rho = grid.density_of_matrix(block.ao, grid.fold(block.ao, request.X, kind), kind)
                w = np.einsum("xyg,yg->xg", kernel[k], rho)
                response += grid.potential_on(block.ao, on_points(request.orbitals), w)
        return found

    def _kernel_at(self, C: Floats, rough: bool) -> list[Floats]:
        """Weighted kernel (n_v, n_v, n_points) of each block at the density ``2 C C^T``, empty before it is first needed.

        That of the environment's own density is kept.
        """
        return self._kernels[rough] if np.array_equal(C, self._state.occupied(0)) else []

    @cached_property
    def _rough(self) -> Any:
        """A coarse grid."""
        grids = self._mf.grids.copy()
        grids.level, grids.coords, grids.weights, grids.non0tab = ROUGH_LEVEL, None, None, None
        return grids.build(with_non0tab=True)


def exchange_shares(mf: Any) -> list[tuple[float, float | None]]:
    """Shares of exact exchange in a functional, each with its operator, see `Fitted`; ``None`` is ``1 / r``.

    They are the operators that PySCF's mean field itself uses, which matters in fitted integrals: there the exchange of all
    distances is not the sum of fitted near and far exchange.
    """
    omega, far, near = mf._numint.rsh_and_hybrid_coeff(mf.xc, spin=0)
    if not omega:
        return [(near, None)] if near else []
    if not far:
        return [(near, -omega)]
    return [(far, omega)] if not near else [(near, None), (far - near, omega)]


def high_level(high: HartreeFock, repulsion: Any, orbitals: Floats) -> Response:
    """Response ``G(X) = J(X) - K(X) / 2`` of the Hartree-Fock potential on `orbitals` (n_ao, n), in its integrals."""
    if isinstance(repulsion, Fitted):
        return repulsion.response(orbitals)

    def potential(X: Floats) -> Floats:
        J, K = high.mf.get_jk(high.mf.mol, X, hermi=1)
        return np.asarray((J - 0.5 * K) @ orbitals)

    return potential
