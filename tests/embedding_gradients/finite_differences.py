"""Levels, frozen grids and finite differences of the program's own energy, in atomic units."""

import numpy as np
import scipy.linalg
from pyscf import dft
from scipy.sparse.linalg import LinearOperator, minres

from aiida_hqe.embedding.label import label, target_energy
from aiida_hqe.embedding.level import Level
from aiida_hqe.units import BOHR, HARTREE, HARTREE_PER_BOHR


def level_of(xc="lda,vwn", *, environment=None, core_orbitals=(5,), forces="analytic", embedding=None, **core) -> Level:
    """A cheap level: STO-3G, grid level 1."""
    return Level.model_validate(
        {
            "environment": {"xc": xc, "basis": "sto-3g", "grid_level": 1, **(environment or {})},
            "core": {"method": "hf", **core},
            "embedding": {"core_orbitals": list(core_orbitals), **(embedding or {})},
            "forces": forces,
        }
    )


def analytic(frame, level):
    """Gradient on QM atoms, then on charges (n_qm + n_mm, 3), from the label."""
    found = label(frame, level)
    assert found.message is None
    return -np.vstack([found.forces, np.reshape(found.mm_forces, (-1, 3))]) / HARTREE_PER_BOHR


def displaced(frame, step):
    """The frame with every site moved by `step` (n_qm + n_mm, 3) bohr."""
    return frame.replace(
        positions=frame.positions + BOHR * step[: frame.n_qm],
        mm_positions=frame.mm_positions + BOHR * step[frame.n_qm :],
    )


def slope(frame, level, direction, h):
    """Derivative of the energy along a direction (n_qm + n_mm, 3), by the five-point formula."""
    energies = [target_energy(level, displaced(frame, k * h * direction)) / HARTREE for k in (-2, -1, 1, 2)]
    return np.dot([1, -8, 8, -1], energies) / (12 * h)


def errors(frame, level, h=2e-3, directions=None):
    """Analytic minus finite-difference slope along directions; by default one that moves every site at random."""
    gradient = analytic(frame, level)
    if directions is None:
        directions = [np.random.default_rng(1).normal(size=gradient.shape)]
    return np.array([np.sum(gradient * d) - slope(frame, level, d, h) for d in directions])


def every_component(frame):
    """Unit displacements of every site along every axis."""
    n = 3 * (frame.n_qm + frame.n_mm)
    return np.eye(n).reshape(n, -1, 3)


class FrozenGrid:
    """Stand-in for PySCF's `Grids.build` that keeps the points and weights of the first call.

    With them the gradient without grid response is the exact derivative of the energy.
    """

    def __init__(self):
        self.build, self.points = dft.gen_grid.Grids.build, None

    def __call__(self, grids, mol=None, with_non0tab=False, sort_grids=True, **options):
        if self.points is None:
            self.build(grids, mol, with_non0tab, sort_grids, **options)
            self.points = grids.coords, grids.weights
        grids.coords, grids.weights = self.points
        grids.non0tab = grids.screen_index = grids.make_mask(mol or grids.mol, grids.coords)
        return grids


class Followed:
    """Stand-in for a rung of the environment's ladder: the second-order solver's state, at each geometry by Newton's method.

    It converges to the last digit, to the same state, wherever orbital energies lie.
    """

    def __init__(self):
        self.orbitals = None

    def __call__(self, mf):
        self.mf = mf
        return self

    def kernel(self):
        if self.orbitals is None:
            self.orbitals = self.mf.newton().run(conv_tol=1e-9, conv_tol_grad=1e-5, max_cycle=100).mo_coeff
        C, n = self.orbitals, self.mf.mol.nelectron // 2
        self.mo_occ = np.repeat([2.0, 0.0], [n, C.shape[1] - n])
        for _ in range(8):
            C = C @ scipy.linalg.inv(scipy.linalg.sqrtm(C.T @ self.mf.get_ovlp() @ C).real)
            F = self.mf.get_fock(dm=self.mf.make_rdm1(C, self.mo_occ))
            C_o, C_v = (part @ np.linalg.eigh(part.T @ F @ part)[1] for part in (C[:, :n], C[:, n:]))
            C = np.hstack([C_o, C_v])
            self.mo_energy = np.sum(C * (F @ C), axis=0)
            self.converged = np.abs(C_v.T @ F @ C_o).max() < 1e-11
            if self.converged:
                break
            z = self._step(C, C_v.T @ F @ C_o)
            C = np.hstack([C_o + C_v @ z, C_v - C_o @ z.T])
        self.mo_coeff, self.e_tot = C, self.mf.energy_tot(self.mf.make_rdm1(C, self.mo_occ))

    def make_rdm1(self, C, occupations):
        return self.mf.make_rdm1(C, occupations)

    def stability(self, **_):
        return self.mo_coeff, None, True, None

    def gap(self):
        """Lowest virtual minus highest occupied orbital energy, hartree."""
        return self.mo_energy[self.mo_occ == 0].min() - self.mo_energy[self.mo_occ > 0].max()

    def _step(self, C, g):
        n = g.shape[1]
        C_o, C_v, gap = C[:, :n], C[:, n:], self.mo_energy[n:, None] - self.mo_energy[:n]
        response = self.mf.gen_response(C, self.mo_occ, singlet=None, hermi=1)

        def hessian(z):
            X = 2.0 * C_v @ z.reshape(gap.shape) @ C_o.T
            return (gap * z.reshape(gap.shape) + C_v.T @ response(X + X.T) @ C_o).ravel()

        operator = LinearOperator((g.size, g.size), matvec=hessian, dtype=float)
        return minres(operator, -g.ravel(), rtol=1e-6)[0].reshape(g.shape)
