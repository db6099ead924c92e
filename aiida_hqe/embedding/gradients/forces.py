"""Analytic forces of the target level: those of the environment and what each quantum core adds.

J. Lee, F. Ding, F. R. Manby, T. F. Miller III, J. Chem. Phys. 2019, 151, 064112, doi:10.1063/1.5109882, gave gradients of
projector embedding; the form here, for point charges and the Huzinaga limit, is derived in docs/gradients.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.correlation import Correlation
from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients import one_electron, partition_response, relaxation, zvector
from aiida_hqe.embedding.gradients.coupled_cluster import coupled_cluster_density
from aiida_hqe.embedding.gradients.density import CoreDensity, hartree_fock_density, mp2_density, repulsion_of
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.exchange_correlation import Term, xc_gradient
from aiida_hqe.embedding.gradients.repulsion import Pair
from aiida_hqe.embedding.gradients.response import high_level, low_level
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
        self._K, self._repulsion = low_level(state, state.occupied(0)), repulsion_of(self.high.mf)
        self._P, self._X, self._T = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n - n_o, n_o))
        self._low_pairs: list[tuple[Floats, Floats]] = []
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
        relaxed = relaxation.relax(density, embedded.fock[0], high_level(self.high), self._repulsion)
        C_A = embedded.partition.core[0]
        D_A = 2.0 * C_A @ C_A.T
        Delta = relaxed.density - D_A
        found = partition_response.respond(embedded, relaxed, density.orbitals, self._K(Delta))
        self._P += Delta
        self._X += found.X
        self._T += found.T
        self._low_pairs.append((D_A, -0.5 * D_A - Delta))
        self._terms.append(Term(D_A, Delta, -1.0, energy=True))
        pair = Pair(relaxed.D, 0.5 * relaxed.D + relaxed.gamma, 1.0)
        self._atoms += self._repulsion.gradient([pair], density.two)

    def _density(self, embedded: EmbeddedState, correlated: Correlation) -> CoreDensity:
        """Unrelaxed density of the method."""
        density = hartree_fock_density(embedded, self._settings.frozen_core)
        if self._settings.method == "hf":
            return density
        if correlated.amplitudes is None:
            return mp2_density(density, self._repulsion)
        triples = self._settings.method == "ccsd(t)"
        return coupled_cluster_density(density, self._repulsion, correlated.amplitudes, triples=triples)

    def total(self) -> Gradient:
        """Solve the z-vector equations of the environment, and contract everything with derivative integrals.

        Raises
        ------
        ConvergenceError
            The equations did not converge.
        """
        state, D = self._state, self._state.density[0]
        D_z, X_z = self._relaxed_environment()
        P, X = self._P - D_z, self._X + X_z
        atoms = self._atoms + xc_gradient(state, [Term(D, P), *self._terms])
        atoms += _low_repulsion(state, [(D, P), *self._low_pairs])
        atoms += one_electron.hcore_gradient(state, P) + one_electron.overlap_gradient(state, X)
        return Gradient(atoms, one_electron.charge_gradient(state, P), one_electron.charge_derivatives(state, P))

    def _relaxed_environment(self) -> tuple[Floats, Floats]:
        """Multipliers of the Kohn-Sham equations as a density, and what they contract with overlap derivatives."""
        state, K = self._state, self._K
        C_o, C_v = state.occupied(0), state.virtual(0)
        F = state.hcore + state.own_potential[0][0]  # the energies that PySCF keeps may contain a level shift
        e_o, e_v = (np.sum(C * (F @ C), axis=0) for C in (C_o, C_v))

        def coupling(z: Floats) -> Floats:
            x = 2.0 * C_v @ z @ C_o.T
            return np.asarray(C_v.T @ K(x + x.T) @ C_o)

        Z = zvector.solve((e_o, e_v), coupling, self._T, "the environment")
        D_z, X = C_v @ Z @ C_o.T, C_v @ (Z * e_o) @ C_o.T
        D_z = 0.5 * (D_z + D_z.T)
        return D_z, 0.5 * (X + X.T) + 2.0 * C_o @ (C_o.T @ K(D_z) @ C_o) @ C_o.T


def _low_repulsion(state: EnvironmentState, pairs: list[tuple[Floats, Floats]]) -> Floats:
    """Gradient of the low level's Coulomb repulsion and exact exchange between pairs of densities (n_atoms, 3)."""
    omega, long_range, share = state.mf._numint.rsh_and_hybrid_coeff(state.mf.xc, spin=0)
    gradient = repulsion_of(state.mf).gradient([Pair(X, Y, share) for X, Y in pairs])
    if not omega:
        return gradient
    far = [Pair(X, Y, long_range - share, coulomb=0.0) for X, Y in pairs]
    return gradient + Exact(state.mol, omega=omega).gradient(far)
