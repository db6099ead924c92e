"""Derivative of exchange-correlation energies with the orbitals of the atoms, on a grid that stays where it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients.one_electron import over_atoms
from aiida_hqe.frames import Floats

SECOND = ((4, 5, 6), (5, 7, 8), (6, 8, 9))
"""Places of the second derivatives ``d_k d_x`` in PySCF's array of orbitals on the grid."""


def xc_gradient(state: EnvironmentState, D: Floats, Y: Floats, *, energy: bool = False) -> Floats:
    """Derivative of ``tr Y v_xc[D]`` with the atomic orbitals, (n_atoms, 3) in hartree/bohr.

    Parameters
    ----------
    D
        Density (n_ao, n_ao) at which the potential is taken; its orbitals move, too.
    Y
        Symmetric matrix (n_ao, n_ao).
    energy
        Whether ``E_xc[D]`` is added to what is differentiated.
    """
    mf, mol = state.mf, state.mol
    ni, kind = mf._numint, mf._numint._xc_type(mf.xc)
    rows, moved = np.zeros((mol.nao, 3)), Y + D if energy else Y
    if kind == "HF":
        return over_atoms(mol, rows)
    make_rho, *_ = ni._gen_rho_evaluator(mol, np.array([D, Y]), 1, False, mf.grids)
    deriv = 1 if kind == "LDA" else 2
    for ao, mask, weights, _ in ni.block_loop(mol, mf.grids, mol.nao, deriv, mf.max_memory):
        shown = ao[0] if kind == "LDA" else ao
        rho, rho_Y = (np.atleast_2d(make_rho(i, shown, mask, kind)) for i in (0, 1))
        _, vxc, fxc, _ = ni.eval_xc_eff(mf.xc, rho[0] if kind == "LDA" else rho, deriv=2, xctype=kind, spin=0)
        response = np.einsum("xyg,yg->xg", fxc, rho_Y)
        rows += _moved(ao, moved, weights * vxc) + _moved(ao, D, weights * response)
    return over_atoms(mol, rows)


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

