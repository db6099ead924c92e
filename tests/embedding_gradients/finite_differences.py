"""Levels, frozen grids and finite differences of the program's own energy, in atomic units."""

import numpy as np
from pyscf import dft

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
