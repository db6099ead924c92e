import numpy as np
import pytest
from finite_differences import FrozenGrid
from pyscf import dft

from aiida_hqe.embedding import correlation, meanfield, scf
from aiida_hqe.embedding.gradients import coupled_cluster, zvector
from aiida_hqe.frames import Frame

WATER = np.array([[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]])
CHARGES = [[2.6, 0.3, 0.4], [3.1, 1.1, 0.5], [3.0, -0.6, 0.7], [-2.6, -1.7, 3.2], [-3.0, -1.2, 2.5], [-2.1, -2.4, 2.8]]


@pytest.fixture(scope="session")
def water() -> Frame:
    """A distorted water molecule in six charges, all of it core."""
    return Frame(
        numbers=[8, 1, 1],
        positions=WATER + 0.03 * np.random.default_rng(0).normal(size=(3, 3)),
        charge=0,
        spin=0,
        core=[1, 1, 1],
        mm_numbers=[8, 1, 1] * 2,
        mm_positions=CHARGES,
        mm_charges=[-0.834, 0.417, 0.417] * 2,
    )


@pytest.fixture(scope="session")
def dimer(water) -> Frame:
    """A distorted water dimer in six charges; the first molecule is the core."""
    second = WATER[:, [1, 0, 2]] * [1, 1, -1] + [0.1, 2.9, -1.0]
    positions = np.vstack([WATER, second]) + 0.02 * np.random.default_rng(0).normal(size=(6, 3))
    return water.replace(numbers=[8, 1, 1] * 2, positions=positions, core=[1, 1, 1, 0, 0, 0])


@pytest.fixture(autouse=True)
def tight(monkeypatch):
    """Convergence that finite differences need: the embedded energy is first order in the Kohn-Sham error."""
    monkeypatch.setattr(scf, "ENERGY_TOLERANCE", 1e-13)
    monkeypatch.setattr(scf, "GRADIENT_TOLERANCE", 1e-9)
    monkeypatch.setattr(meanfield, "TOLERANCE", 1e-10)
    monkeypatch.setattr(correlation, "ENERGY_TOLERANCE", 1e-12)
    monkeypatch.setattr(correlation, "AMPLITUDE_TOLERANCE", 1e-9)
    monkeypatch.setattr(coupled_cluster, "TOLERANCE", 1e-9)
    monkeypatch.setattr(zvector, "TOLERANCE", 1e-10)


@pytest.fixture
def frozen_grid(monkeypatch) -> None:
    """Grid points and weights stay those of the first geometry."""
    frozen = FrozenGrid()
    monkeypatch.setattr(dft.gen_grid.Grids, "build", lambda grids, *args, **options: frozen(grids, *args, **options))
