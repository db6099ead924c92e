"""The environment's integration grid in blocks: orbitals and densities on its points, and what potentials do to orbitals.

Orbitals on points are arrays (n_x, n, n_points): values, and for more than the LDA the three derivatives in space. Densities are
(n_v, n_points): density, its three derivatives for a GGA, and the kinetic energy density for a meta-GGA.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from pyscf import lib
from pyscf.dft.gen_grid import BLKSIZE
from pyscf.grad.rks import grids_response_cc

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.frames import Floats

ELEMENTS = 80_000
"""Values of one array of all atomic orbitals on a block of points, so that what is made of them stays in the cache."""


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Some points of the grid.

    Attributes
    ----------
    ao
        Atomic orbitals and their derivatives (n_derivatives, n_ao, n_points).
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


def kind_of(state: EnvironmentState) -> str:
    """``LDA``, ``GGA``, ``MGGA``, or ``HF`` where nothing is integrated."""
    return str(state.mf._numint._xc_type(state.mf.xc))


def blocks(state: EnvironmentState, grids: Any, deriv: int) -> Iterator[Block]:
    """A grid fixed in space, with derivatives of the orbitals up to order `deriv`."""
    ni, mol = state.mf._numint, state.mol
    size = BLKSIZE * max(ELEMENTS // (mol.nao * BLKSIZE), 4)
    for ao, _, weights, _ in ni.block_loop(mol, grids, mol.nao, deriv, blksize=size):
        yield Block(ao.reshape(-1, *ao.shape[-2:]).transpose(0, 2, 1), weights)


def moving_blocks(state: EnvironmentState, deriv: int) -> Iterator[Block]:
    """The environment's grid with the response of its weights to the nuclei."""
    mol, grids, ni = state.mol, state.mf.grids, state.mf._numint
    size = BLKSIZE * max(ELEMENTS // (mol.nao * BLKSIZE), 4)
    for atom, (coordinates, weights, moved) in enumerate(grids_response_cc(grids)):
        for first, last in lib.prange(0, len(weights), size):
            r: Any = coordinates[first:last]
            ao = ni.eval_ao(mol, r, deriv=deriv, non0tab=grids.make_mask(mol, r), cutoff=grids.cutoff)
            ao = ao.reshape(-1, *ao.shape[-2:]).transpose(0, 2, 1)
            yield Block(ao, weights[first:last], atom, moved[:, :, first:last])


def orbitals_on(ao: Floats, C: Floats, kind: str) -> Floats:
    """Orbitals ``C`` (n_ao, n) on the points of a block, (n_x, n, n_points)."""
    return np.array([C.T @ values for values in ao[: 1 if kind == "LDA" else 4]])


def density_of_pairs(left: Floats, right: Floats, kind: str) -> Floats:
    """Density of the symmetric part of ``L R^T``, from the orbitals L and R on the points."""
    rho = [_sum(left[0], right[0])]
    if kind != "LDA":
        rho += [_sum(left[x], right[0]) + _sum(left[0], right[x]) for x in (1, 2, 3)]
    if kind == "MGGA":
        rho.append(0.5 * np.sum([_sum(left[x], right[x]) for x in (1, 2, 3)], axis=0))
    return np.array(rho)


def density_of_matrix(ao: Floats, folded: list[Floats], kind: str) -> Floats:
    """Density of a symmetric matrix X (n_ao, n_ao) from `folded`, see `fold`."""
    rho = [_sum(ao[0], folded[0])]
    if kind != "LDA":
        rho += [2.0 * _sum(ao[x], folded[0]) for x in (1, 2, 3)]
    if kind == "MGGA":
        rho.append(0.5 * np.sum([_sum(ao[x], folded[x]) for x in (1, 2, 3)], axis=0))
    return np.array(rho)


def fold(ao: Floats, X: Floats, kind: str) -> list[Floats]:
    """A matrix times the orbitals, and for a meta-GGA times their derivatives, (n_ao, n_points) each."""
    return [X @ values for values in ao[: 4 if kind == "MGGA" else 1]]


def functional(state: EnvironmentState, rho: Floats, kind: str) -> tuple[Floats, Floats, Floats]:
    """Energy density for a particle, potential (n_v, n_points) and kernel (n_v, n_v, n_points) of closed shells."""
    argument = rho[0] if kind == "LDA" else rho
    exc, vxc, fxc, _ = state.mf._numint.eval_xc_eff(state.mf.xc, argument, deriv=2, xctype=kind, spin=0)
    return exc, vxc, fxc


def potential_on(ao: Floats, phi: Floats, w: Floats) -> Floats:
    """``V C`` (n_ao, n) for the potential that is the derivative of ``sum_g w_v rho_v``, from C on the points."""
    u = phi[0] * w[0]
    for x in range(1, min(len(w), 4)):
        u += phi[x] * w[x]
    found = ao[0] @ u.T
    for x in range(1, min(len(w), 4)):
        u = phi[0] * w[x]
        if len(w) > 4:
            u += phi[x] * (0.5 * w[4])
        found += ao[x] @ u.T
    return np.asarray(found)


def _sum(a: Floats, b: Floats) -> Floats:
    return np.einsum("ng,ng->g", a, b)
