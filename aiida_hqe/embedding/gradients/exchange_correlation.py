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
class Block:
    """Some points of the grid.

    Attributes
    ----------
    ao
        Orbitals and their derivatives (n_derivatives, n_points, n_ao).
    mask
        PySCF's mask of vanishing orbitals.
    weights
        Weights of the points (n_points,).
    atom, moved
        Atom that the points belong to, and derivatives of their weights with the nuclei (n_atoms, 3, n_points); ``None``
        on a fixed grid.
    """

    ao: Floats
    mask: Any
    weights: Floats
    atom: int | None = None
    moved: Floats | None = None


def xc_gradient(state: EnvironmentState, D: Floats, Y: Floats, *, energy: bool = False) -> Floats:
    """Derivative of ``tr Y v_xc[D]`` with the nuclei at fixed density matrices, (n_atoms, 3) in hartree/bohr.

    Parameters
    ----------
    state
        Environment; its `grid_response` says whether points and weights of the grid move with the nuclei.
    D
        Density (n_ao, n_ao) at which the potential is taken.
    Y
        Symmetric matrix (n_ao, n_ao).
    energy
        Whether ``E_xc[D]`` is added to what is differentiated.
    """
    mf, mol = state.mf, state.mol
    ni, kind = mf._numint, mf._numint._xc_type(mf.xc)
    gradient = np.zeros((mol.natm, 3))
    if kind == "HF":
        return gradient
    make_rho, *_ = ni._gen_rho_evaluator(mol, np.array([D, Y]), 1, False, mf.grids)
    for block in _blocks(state, 1 if kind == "LDA" else 2, state.grid_response):
        ao = block.ao[0] if kind == "LDA" else block.ao
        rho, rho_Y = (np.atleast_2d(make_rho(i, ao, block.mask, kind)) for i in (0, 1))
        exc, vxc, fxc, _ = ni.eval_xc_eff(mf.xc, rho[0] if kind == "LDA" else rho, deriv=2, xctype=kind, spin=0)
        response = np.einsum("xyg,yg->xg", fxc, rho_Y)
        rows = _moved(block.ao, Y + D if energy else Y, block.weights * vxc)
        on_atoms = over_atoms(mol, rows + _moved(block.ao, D, block.weights * response))
        gradient += on_atoms
        if block.moved is not None:
            density = np.sum(vxc * rho_Y, axis=0) + (exc * rho[0] if energy else 0.0)
            gradient += block.moved @ density
            gradient[block.atom] -= on_atoms.sum(axis=0)
    return gradient


def _blocks(state: EnvironmentState, deriv: int, moving: bool) -> Iterator[Block]:
    """The grid in blocks, with the response of its weights where it moves."""
    mf, mol = state.mf, state.mol
    ni, grids = mf._numint, mf.grids
    if not moving:
        for ao, mask, weights, _ in ni.block_loop(mol, grids, mol.nao, deriv, mf.max_memory):
            yield Block(ao, mask, weights)
        return
    for atom, (coordinates, weights, moved) in enumerate(grids_response_cc(grids)):
        for first, last in lib.prange(0, len(weights), POINTS):
            r, mask = coordinates[first:last], grids.make_mask(mol, coordinates[first:last])
            ao = ni.eval_ao(mol, r, deriv=deriv, non0tab=mask, cutoff=grids.cutoff)
            yield Block(ao, mask, weights[first:last], atom, moved[:, :, first:last])


def _moved(ao: Floats, X: Floats, w: Floats) -> Floats:
    """Derivative of ``sum_g w_v rho_v[X]`` with the orbitals (n_ao, 3); v: density, its gradient, kinetic energy density."""
    u = ao[0] * w[0][:, None]
    for x in range(1, min(len(w), 4)):
        u = u + ao[x] * w[x][:, None]
    Xu = u @ X
    rows = np.array([np.einsum("gm,gm->m", ao[k + 1], Xu) for k in range(3)])
    if len(w) > 1:
        X0 = ao[0] @ X
        for k in range(3):
            second = sum(ao[SECOND[k][x]] * w[x + 1][:, None] for x in range(3))
            rows[k] += np.einsum("gm,gm->m", second, X0)
    if len(w) > 4:
        for x in range(3):
            half = (ao[x + 1] * (0.5 * w[4])[:, None]) @ X
            rows += np.array([np.einsum("gm,gm->m", ao[SECOND[k][x]], half) for k in range(3)])
    return -2.0 * rows.T
