"""Derivatives of exchange-correlation energies and potentials with the nuclei, on a fixed grid or on one that moves with them."""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients import grid
from aiida_hqe.embedding.gradients.grid import Block
from aiida_hqe.embedding.gradients.one_electron import over_atoms
from aiida_hqe.frames import Floats

SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))
"""Places of the second derivatives ``d_k d_x`` in PySCF's array of orbitals on the grid."""


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """``factor (tr Y v_xc[D] + E_xc[D])`` of the density ``D = 2 C C^T``, each part only where asked for.

    Attributes
    ----------
    C
        Doubly occupied orbitals (n_ao, n).
    Y
        Symmetric matrix (n_ao, n_ao), or ``None``.
    factor
        Sign and weight.
    energy
        Whether the energy is contained.
    """

    C: Floats
    Y: Floats | None = None
    factor: float = 1.0
    energy: bool = False


def xc_gradients(state: EnvironmentState, groups: list[list[Term]]) -> Floats:
    """Derivatives of sums of terms with the nuclei at fixed density matrices, (n_groups, n_atoms, 3) in hartree/bohr.

    All are made in one pass over the grid, which moves with the nuclei where `state` asks for its response.
    """
    mol, kind = state.mol, grid.kind_of(state)
    gradients = np.zeros((len(groups), mol.natm, 3))
    if kind == "HF":
        return gradients
    deriv = 1 if kind == "LDA" else 2
    moving = state.grid_response
    for block in grid.moving_blocks(state, deriv) if moving else grid.blocks(state, state.mf.grids, deriv):
        references: dict[int, _Reference] = {}
        for gradient, terms in zip(gradients, groups, strict=True):
            rows, density = _evaluate(state, kind, block, terms, references)
            on_atoms = over_atoms(mol, rows)
            gradient += on_atoms
            if block.moved is not None:
                gradient += block.moved @ density
                gradient[block.atom] -= on_atoms.sum(axis=0)
    return gradients


def _evaluate(
    state: EnvironmentState, kind: str, block: Block, terms: list[Term], references: dict[int, _Reference]
) -> tuple[Floats, Floats]:
    """Derivative of a sum of terms with the orbitals (n_ao, 3), and its energy density on the points (n_points,)."""
    moved, density = _Moved(block.ao, kind), np.zeros(len(block.weights))
    for term in terms:
        if id(term.C) not in references:
            references[id(term.C)] = _Reference(state, kind, block, term.C)
        at = references[id(term.C)]
        weights, by_D = term.factor * block.weights, np.zeros_like(at.vxc)
        if term.energy:
            by_D += weights * at.vxc
            density += term.factor * at.exc * at.rho[0]
        if term.Y is not None:
            folded = grid.fold(block.ao, term.Y, kind)
            rho = grid.density_of_matrix(block.ao, folded, kind)
            moved.add_matrix(term.Y, folded, weights * at.vxc)
            by_D += weights * np.einsum("xyg,yg->xg", at.fxc, rho)
            density += term.factor * np.sum(at.vxc * rho, axis=0)
        moved.add_orbitals(term.C, at.phi, by_D)
    return moved.rows(), density


class _Reference:
    """A density ``2 C C^T`` on the points of a block, with potential and kernel of the functional there."""

    def __init__(self, state: EnvironmentState, kind: str, block: Block, C: Floats) -> None:
        self.phi = grid.orbitals_on(block.ao, C, kind)
        self.rho = 2.0 * grid.density_of_pairs(self.phi, self.phi, kind)
        self.exc, self.vxc, self.fxc = grid.functional(state, self.rho, kind)


class _Moved:
    """Derivative of sums ``sum_g w_v rho_v`` with the orbitals, collected before it meets derivatives of the orbitals.

    It is ``-2 sum_g [d_k chi_m Q0_m + sum_x d_k d_x chi_m Qx_m]`` with ``Q0 = sum_v w_v X d_v chi`` and ``Qx = w_x X chi``, to
    which the kinetic energy density adds ``w_tau / 2 X d_x chi``.
    """

    def __init__(self, ao: Floats, kind: str) -> None:
        self._ao, self._n = ao, 1 if kind == "LDA" else 4
        self._Q = np.zeros((self._n, *ao.shape[1:]))

    def add_matrix(self, X: Floats, folded: list[Floats], w: Floats) -> None:
        """Weights `w` (n_v, n_points) of a symmetric matrix, folded with the orbitals."""
        u = self._ao[0] * w[0]
        for x in range(1, self._n):
            u += self._ao[x] * w[x]
        self._add(X @ u, folded, w)

    def add_orbitals(self, C: Floats, phi: Floats, w: Floats) -> None:
        """Weights of ``2 C C^T``, from the orbitals on the points."""
        u = sum(phi[x] * w[x] for x in range(self._n))
        n_folded = 4 if len(w) > 4 else 1
        self._add(2.0 * C @ u, [2.0 * C @ phi[x] for x in range(n_folded if self._n > 1 else 0)], w)

    def _add(self, by_density: Floats, folded: list[Floats], w: Floats) -> None:
        self._Q[0] += by_density
        for x in range(1, self._n):
            self._Q[x] += folded[0] * w[x]
            if len(w) > 4:
                self._Q[x] += folded[x] * (0.5 * w[4])

    def rows(self) -> Floats:
        """The derivative (n_ao, 3)."""
        ao, found = self._ao, np.empty((3, self._ao.shape[1]))
        for k in range(3):
            found[k] = np.einsum("mg,mg->m", ao[1 + k], self._Q[0])
            for x in range(1, self._n):
                found[k] += np.einsum("mg,mg->m", ao[SECOND[k][x - 1]], self._Q[x])
        return -2.0 * found.T
