"""Derivatives of exchange-correlation energies and potentials with the nuclei, on a fixed grid or on one that moves with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from pyscf import lib
from pyscf.grad.rks import grids_response_cc

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients.one_electron import over_atoms
from aiida_hqe.frames import Floats

SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))
"""Places of the second derivatives ``d_k d_x`` in PySCF's array of orbitals on the grid."""

POINTS = 5000
"""Points of a block of a moving grid."""


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """``factor (tr Y v_xc[D] + E_xc[D])``, the energy only where asked for.

    Attributes
    ----------
    D, Y
        Density and symmetric matrix (n_ao, n_ao).
    factor
        Sign and weight.
    energy
        Whether the energy is contained.
    """

    D: Floats
    Y: Floats
    factor: float = 1.0
    energy: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Some points of the grid.

    Attributes
    ----------
    ao
        Orbitals and their derivatives (n_derivatives, n_points, n_ao).
    weights
        Weights of the points (n_points,).
    atom, moved
        Atom that the points belong to, and derivatives of their weights with the nuclei (n_atoms, 3, n_points); ``None``
        on a fixed grid.
    """

    ao: Floats
    weights: Floats
    atom: int | None = None
    moved: Floats | None = None


def xc_gradient(state: EnvironmentState, terms: list[Term]) -> Floats:
    """Derivative of a sum of terms with the nuclei at fixed density matrices, (n_atoms, 3) in hartree/bohr.

    The grid moves with the nuclei where `state` asks for its response.
    """
    mol, gradient = state.mol, np.zeros((state.mol.natm, 3))
    kind = state.mf._numint._xc_type(state.mf.xc)
    if kind == "HF":
        return gradient
    for block in _blocks(state, 1 if kind == "LDA" else 2):
        rows, density = np.zeros((mol.nao, 3)), np.zeros(len(block.weights))
        for term in terms:
            rows_of_term, density_of_term = _evaluate(state, kind, block, term)
            rows += rows_of_term
            density += density_of_term
        on_atoms = over_atoms(mol, rows)
        gradient += on_atoms
        if block.moved is not None:
            gradient += block.moved @ density
            gradient[block.atom] -= on_atoms.sum(axis=0)
    return gradient


def _evaluate(state: EnvironmentState, kind: str, block: Block, term: Term) -> tuple[Floats, Floats]:
    """Derivative of a term with the orbitals (n_ao, 3), and its energy density on the points (n_points,)."""
    mf, ao = state.mf, block.ao
    D, Y = _Folded(ao, term.D, kind), _Folded(ao, term.Y, kind)
    rho = D.rho[0] if kind == "LDA" else D.rho
    exc, vxc, fxc, _ = mf._numint.eval_xc_eff(mf.xc, rho, deriv=2, xctype=kind, spin=0)
    weights = term.factor * block.weights
    by_Y, by_D = weights * vxc, weights * np.einsum("xyg,yg->xg", fxc, Y.rho)
    density = np.sum(vxc * Y.rho, axis=0)
    if term.energy:
        by_D += by_Y
        density += exc * D.rho[0]
    return Y.moved(by_Y) + D.moved(by_D), term.factor * density


class _Folded:
    """A symmetric matrix folded with the orbitals on a block of the grid.

    Attributes
    ----------
    rho
        Its density, and for a GGA the density's gradient, and for a meta-GGA the kinetic energy density, (n, n_points).
    """

    def __init__(self, ao: Floats, X: Floats, kind: str) -> None:
        self._ao, self._X = ao, X
        self._folded = [ao[x] @ X for x in range(4 if kind == "MGGA" else 1)]
        rho = [_row_sums(ao[0], self._folded[0])]
        if kind != "LDA":
            rho += [2.0 * _row_sums(ao[x], self._folded[0]) for x in (1, 2, 3)]
        if kind == "MGGA":
            rho.append(0.5 * np.sum([_row_sums(ao[x], self._folded[x]) for x in (1, 2, 3)], axis=0))
        self.rho = np.array(rho)

    def moved(self, w: Floats) -> Floats:
        """Derivative of ``sum_g w_v rho_v`` with the orbitals (n_ao, 3)."""
        ao, n = self._ao, min(len(w), 4)
        u = sum(ao[x] * w[x][:, None] for x in range(n)) @ self._X
        rows = np.array([_column_sums(ao[k], u) for k in (1, 2, 3)])
        for x in range(1, n):
            t = self._folded[0] * w[x][:, None]
            if len(w) > 4:
                t += self._folded[x] * (0.5 * w[4])[:, None]
            rows += np.array([_column_sums(ao[SECOND[k][x - 1]], t) for k in range(3)])
        return -2.0 * rows.T


def _row_sums(a: Floats, b: Floats) -> Floats:
    return np.einsum("gm,gm->g", a, b)


def _column_sums(a: Floats, b: Floats) -> Floats:
    return np.einsum("gm,gm->m", a, b)


def _blocks(state: EnvironmentState, deriv: int) -> Iterator[Block]:
    """The grid in blocks, with the response of its weights where it moves."""
    mf, mol = state.mf, state.mol
    ni, grids = mf._numint, mf.grids
    if not state.grid_response:
        for ao, _, weights, _ in ni.block_loop(mol, grids, mol.nao, deriv, mf.max_memory):
            yield Block(ao, weights)
        return
    for atom, (coordinates, weights, moved) in enumerate(grids_response_cc(grids)):
        for first, last in lib.prange(0, len(weights), POINTS):
            r: Any = coordinates[first:last]
            mask = grids.make_mask(mol, r)
            ao = ni.eval_ao(mol, r, deriv=deriv, non0tab=mask, cutoff=grids.cutoff)
            yield Block(ao, weights[first:last], atom, moved[:, :, first:last])
