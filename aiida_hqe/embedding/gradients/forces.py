"""Analytic forces of the target level: those of the environment and what each quantum core adds.

J. Lee, F. Ding, F. R. Manby, T. F. Miller III, J. Chem. Phys. 2019, 151, 064112, doi:10.1063/1.5109882, gave gradients of
projector embedding; the form here, for point charges and the Huzinaga limit, is derived in docs/gradients.md.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property, partial

import numpy as np

from aiida_hqe.embedding.correlation import Correlation
from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients import one_electron, partition_response, relaxation, zvector
from aiida_hqe.embedding.gradients.coupled_cluster import coupled_cluster_density
from aiida_hqe.embedding.gradients.density import CoreDensity, hartree_fock_density, mp2_density, repulsion_of
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.exchange_correlation import Term, xc_gradients
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.gradients.repulsion import Pair
from aiida_hqe.embedding.gradients.response import LowLevel, Request, high_level
from aiida_hqe.embedding.level import CoreMethod
from aiida_hqe.embedding.meanfield import EmbeddedState, HartreeFock
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Gradient:
    """Derivatives of an energy in atomic units.

    Attributes
    ----------
    atoms, charges
        With the positions of QM atoms (n_qm, 3) and of point charges (n_mm, 3), hartree/bohr.
    charge_values
        With the values of the point charges (n_mm,), hartree/e.
    """

    atoms: Floats
    charges: Floats
    charge_values: Floats

    def __add__(self, other: Gradient) -> Gradient:
        return Gradient(
            self.atoms + other.atoms, self.charges + other.charges, self.charge_values + other.charge_values
        )


class CoreGradients:
    """Gradient of what the quantum cores add to the environment's energy; one z-vector serves all of them.

    Parameters
    ----------
    state
        Converged environment.
    settings
        Method of the cores.

    Attributes
    ----------
    high
        Two-electron integrals of the cores.
    """

    def __init__(self, state: EnvironmentState, settings: CoreMethod) -> None:
        n, n_o = state.mol.nao, state.n_occupied[0]
        self.high = HartreeFock(state, settings.density_fit)
        self._state, self._settings = state, settings
        self._low = LowLevel(state)
        self._P, self._X, self._T = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n - n_o, n_o))
        self._low_pairs: list[tuple[Floats, Floats]] = []
        self._high_pairs: list[Pair] = []
        self._terms: list[Term] = []
        self._atoms = np.zeros((state.mol.natm, 3))

    def add(self, embedded: EmbeddedState, correlated: Correlation) -> None:
        """Add one core.

        Raises
        ------
        ConvergenceError
            The z-vector equations of the core, or the multipliers of coupled cluster, did not converge.
        """
        density = self._density(embedded, correlated)
        G = high_level(self.high, self._repulsion, density.occupied)
        relaxed = relaxation.relax(density, embedded.fock[0], G, self._repulsion)
        found = partition_response.respond(embedded, relaxed, density.orbitals, self._low)
        C_A = embedded.partition.core[0]
        D_A = 2.0 * C_A @ C_A.T
        Delta = relaxed.density - D_A
        self._P += Delta
        self._X += found.X
        self._T += found.T
        self._low_pairs.append((C_A, -0.5 * D_A - Delta))
        self._terms.append(Term(C_A, Delta, -1.0, energy=True))
        self._high_pairs.append(Pair(density.occupied, 0.5 * relaxed.D + relaxed.gamma, 1.0))
        if density.two is not None or not self._together:
            pairs = [] if self._together else [self._high_pairs.pop()]
            self._atoms += self._repulsion.gradients([pairs], density.two)[0]

    @cached_property
    def _repulsion(self) -> Exact | Fitted:
        """Integrals of the high level, in memory where the embedded mean field has kept them."""
        return repulsion_of(self.high.mf)

    @property
    def _together(self) -> bool:
        """Whether low and high level have the same integrals, whose derivatives then serve both."""
        return isinstance(self._repulsion, Exact) and isinstance(self._low.repulsion, Exact)

    def _density(self, embedded: EmbeddedState, correlated: Correlation) -> CoreDensity:
        """Unrelaxed density of the method."""
        density = hartree_fock_density(embedded, self._settings.frozen_core, correlated.virtuals)
        if self._settings.method == "hf":
            return density
        if correlated.amplitudes is None:
            return mp2_density(density, self._repulsion)
        triples = self._settings.method == "ccsd(t)"
        return coupled_cluster_density(density, self._repulsion, correlated.amplitudes, triples=triples)

    def total(self) -> tuple[Gradient, Gradient]:
        """Gradient of the environment's own energy without dispersion, and of what the cores add to it.

        Solves the z-vector equations of the environment, and contracts everything with derivative integrals, once for both.

        Raises
        ------
        ConvergenceError
            The equations did not converge.
        """
        state, C_o, D = self._state, self._state.occupied(0), self._state.density[0]
        D_z, X_z = self._relaxed_environment()
        P, X = self._P - D_z, self._X + X_z
        atoms = xc_gradients(state, [[Term(C_o, energy=True)], [Term(C_o, P), *self._terms]])
        atoms += self._low_repulsion([[(C_o, 0.5 * D)], [(C_o, P), *self._low_pairs]])
        through_h, charges = one_electron.hcore_gradients(state, np.array([D, P]))
        values = one_electron.charge_derivatives(state, np.array([D, P]))
        atoms += through_h + [one_electron.overlap_gradient(state, Y) for Y in (self._weighted(), X)]
        nuclear = state.mf.nuc_grad_method()
        if len(charges[0]):
            charges[0] += nuclear.grad_nuc_mm()
        environment = Gradient(
            atoms[0] + nuclear.grad_nuc(), charges[0], values[0] + one_electron.nuclear_charge_derivatives(state)
        )
        return environment, Gradient(self._atoms + atoms[1], charges[1], values[1])

    def _weighted(self) -> Floats:
        """Minus the energy-weighted density of the environment (n_ao, n_ao)."""
        C_o = self._state.occupied(0)
        return np.asarray(-2.0 * (C_o * self._energies[0]) @ C_o.T)

    @cached_property
    def _energies(self) -> tuple[Floats, Floats]:
        """Energies of occupied and virtual orbitals; those that PySCF keeps may contain a level shift."""
        state = self._state
        F = state.hcore + state.own_potential[0][0]
        e_o, e_v = (np.sum(C * (F @ C), axis=0) for C in (state.occupied(0), state.virtual(0)))
        return e_o, e_v

    def _relaxed_environment(self) -> tuple[Floats, Floats]:
        """Multipliers of the Kohn-Sham equations as a density, and what they contract with overlap derivatives."""
        state, low = self._state, self._low
        C_o, C_v = state.occupied(0), state.virtual(0)

        def coupling(z: Floats, rough: bool = False) -> Floats:
            L = 4.0 * C_v @ z
            X = 0.5 * (L @ C_o.T + C_o @ L.T)
            return low.kernel([Request(C_o, (L, C_o), C_o)], rough=rough)[0] + low.repelled(X) @ C_o

        equations = zvector.Equations(self._energies, C_v, coupling, "the environment", partial(coupling, rough=True))
        solved = zvector.solve(equations, self._T)
        D_z, X = C_v @ solved.z @ C_o.T, C_v @ (solved.z * self._energies[0]) @ C_o.T
        return 0.5 * (D_z + D_z.T), 0.5 * (X + X.T) + 0.5 * C_o @ (C_o.T @ solved.response) @ C_o.T

    def _low_repulsion(self, groups: list[list[tuple[Floats, Floats]]]) -> Floats:
        """Gradients of the low level's Coulomb repulsion and exchange between pairs of densities (n_groups, n_atoms, 3).

        And of the high level's, in the last group, where the integrals are the same.
        """
        low = self._low
        near = sum(share for share, omega in low.exchange if omega is None)
        pairs = [[Pair(C, Y, near) for C, Y in group] for group in groups]
        pairs[-1] += self._high_pairs
        found = low.repulsion.gradients(pairs)
        for share, omega in low.exchange:
            if omega is not None:
                far = [[Pair(C, Y, share, coulomb=0.0) for C, Y in group] for group in groups]
                found = found + low.repulsion.at_range(omega).gradients(far)
        return found
