"""Analytic forces of the target level: those of the environment and what each quantum core adds.

J. Lee, F. Ding, F. R. Manby, T. F. Miller III, J. Chem. Phys. 2019, 151, 064112, doi:10.1063/1.5109882, gave gradients of projector
embedding; the form here, for point charges and the Huzinaga limit, is derived in docs/gradients.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients import one_electron, partition_response, relaxation, zvector
from aiida_hqe.embedding.gradients.density import correlated_density, repulsion_of
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.exchange_correlation import xc_gradient
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.gradients.repulsion import Pair
from aiida_hqe.embedding.gradients.response import Response, high_level, low_level
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


def core_gradient(
    state: EnvironmentState, cores: list[EmbeddedState], high: HartreeFock, settings: CoreMethod
) -> Gradient:
    """Gradient of what all cores add to the environment's energy; one z-vector of the environment serves all of them.

    Raises
    ------
    ConvergenceError
        Z-vector equations did not converge.
    """
    response = low_level(state, state.occupied(0))
    high_repulsion = repulsion_of(high)
    total = _Total(state)
    for core in cores:
        total.add_core(core, response, high, high_repulsion, settings)
    total.add_environment(response)
    return total.gradient()


class _Total:
    """Sums over cores: what is contracted with derivative integrals."""

    def __init__(self, state: EnvironmentState) -> None:
        n, self.state = state.mol.nao, state
        self.P, self.X, self.Y = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
        self.T = np.zeros((n - state.n_occupied[0], state.n_occupied[0]))
        self.exchange = _share_of_exchange(state)
        self.low_pairs: list[Pair] = []
        self.atoms = np.zeros((state.mol.natm, 3))

    def add_core(
        self,
        embedded: EmbeddedState,
        response: Response,
        high: HartreeFock,
        repulsion: Exact | Fitted,
        settings: CoreMethod,
    ) -> None:
        """Add one core: its skeleton derivative, and its right-hand side."""
        density = correlated_density(embedded, repulsion, settings)
        relaxed = relaxation.relax(density, embedded.fock[0], high_level(high), repulsion)
        C_A = embedded.partition.core[0]
        D_A = 2.0 * C_A @ C_A.T
        Delta = relaxed.density - D_A
        found = partition_response.respond(embedded, relaxed, density.orbitals, response(Delta))
        self.P += Delta
        self.Y += Delta
        self.X += found.X
        self.T += found.T
        self.low_pairs.append(Pair(D_A, -0.5 * D_A - Delta, self.exchange))
        self.atoms -= xc_gradient(self.state, D_A, Delta, energy=True)
        self.atoms += repulsion.gradient([Pair(relaxed.D, 0.5 * relaxed.D + relaxed.gamma, 1.0)], density.two)

    def add_environment(self, response: Response) -> None:
        """Solve the z-vector equations of the environment for all cores together."""
        state = self.state
        C_o, C_v = state.occupied(0), state.virtual(0)
        energies = np.asarray(state.mf.mo_energy)
        e_o, e_v = energies[: C_o.shape[1]], energies[C_o.shape[1] :]

        def coupling(z: Floats) -> Floats:
            x = 2.0 * C_v @ z @ C_o.T
            return np.asarray(C_v.T @ response(x + x.T) @ C_o)

        Z = zvector.solve((e_o, e_v), coupling, self.T, "the environment")
        D_z = C_v @ Z @ C_o.T
        D_z = 0.5 * (D_z + D_z.T)
        X = C_v @ (Z * e_o) @ C_o.T
        self.X += 0.5 * (X + X.T) + 2.0 * C_o @ (C_o.T @ response(D_z) @ C_o) @ C_o.T
        self.P -= D_z
        self.Y -= D_z

    def gradient(self) -> Gradient:
        """Contract everything with derivative integrals."""
        state, D = self.state, self.state.density[0]
        pairs = [Pair(D, self.Y, self.exchange), *self.low_pairs]
        atoms = self.atoms + xc_gradient(state, D, self.Y) + _low_repulsion(state).gradient(pairs)
        atoms += one_electron.hcore_gradient(state, self.P) + one_electron.overlap_gradient(state, self.X)
        return Gradient(
            atoms,
            one_electron.charge_gradient(state, self.P),
            one_electron.charge_derivatives(state, self.P),
        )


def _share_of_exchange(state: EnvironmentState) -> float:
    return float(state.mf._numint.rsh_and_hybrid_coeff(state.mf.xc, spin=0)[2])


def _low_repulsion(state: EnvironmentState) -> Exact | Fitted:
    with_df = getattr(state.mf, "with_df", None)
    return Fitted(state.mol, with_df.auxmol) if with_df else Exact(state.mol)
