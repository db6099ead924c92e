"""What analytic forces of the target level cost: CPU seconds of one thread, in units of the energy. Printed, never asserted.

The energy is everything that a label needs without any forces: the environment's self-consistent field from PySCF's own guess,
partition, embedded mean field, and correlation. The gradient is everything that forces add, on atoms and charges, of the target
level and of the environment, with the derivatives with the values of the charges. Both in one process, one after the other.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from pyscf import lib

from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.gradients import one_electron
from aiida_hqe.embedding.gradients.forces import CoreGradients
from aiida_hqe.embedding.label import core_labels
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame

pytestmark = pytest.mark.slow

WATER = np.array([[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]])
SPACING = 2.9
"""Distance of neighbouring oxygen atoms, angstrom."""

METHODS = {
    "hf": {"method": "hf", "density_fit": True},
    "ri-mp2": {"method": "mp2", "density_fit": True, "frozen_core": True},
    "ccsd(t)": {"method": "ccsd(t)", "density_fit": True, "frozen_core": True},
    "hf, exact integrals": {"method": "hf"},
    "ccsd(t), exact integrals": {"method": "ccsd(t)", "frozen_core": True},
}


def cluster(n_waters: int, n_charges: int) -> Frame:
    """Waters turned at random on a cubic lattice, those nearest to the first one in the QM region; the first is the core."""
    rng = np.random.default_rng(4)
    lattice = np.array([(i, j, k) for i in range(-5, 6) for j in range(-5, 6) for k in range(-5, 6)])
    nearest = lattice[np.argsort(np.sum(lattice**2, axis=1), kind="stable")]
    turns = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in nearest)
    waters = [
        WATER @ turn + SPACING * site + 0.03 * rng.normal(size=(3, 3))
        for site, turn in zip(nearest, turns, strict=True)
    ]
    n_mm = n_charges // 3
    return Frame(
        numbers=[8, 1, 1] * n_waters,
        positions=np.vstack(waters[:n_waters]),
        charge=0,
        spin=0,
        core=[1, 1, 1] + [0] * (3 * n_waters - 3),
        mm_numbers=[8, 1, 1] * n_mm,
        mm_positions=np.reshape(waters[n_waters : n_waters + n_mm], (-1, 3)),
        mm_charges=[-0.834, 0.417, 0.417] * n_mm,
    )


def level_of(core: dict[str, Any], **environment: Any) -> Level:
    """PBE/def2-SVP on a grid of level 3, with fitted Coulomb integrals unless told otherwise."""
    settings = {"xc": "pbe", "basis": "def2-svp", "grid_level": 3, "density_fit": True} | environment
    return Level.model_validate(
        {"environment": settings, "core": core, "embedding": {"core_orbitals": [5]}, "forces": "analytic"}
    )


class Clock:
    """CPU seconds spent inside ``with`` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._start


class Timed(CoreGradients):
    """Gradients of cores whose share of a label is timed."""

    def __init__(self, state: EnvironmentState, level: Level, clock: Clock) -> None:
        self.clock = clock
        super().__init__(state, level.core)

    def add(self, *core: Any) -> None:
        """Add a core, timed."""
        with self.clock:
            super().add(*core)


def measure(frame: Frame, level: Level, state: EnvironmentState) -> tuple[float, float]:
    """CPU seconds of the cores' energies, and of all forces, in a converged environment."""
    gradient, both = Clock(), Clock()
    with both:
        timed = Timed(state, level, gradient)
        core_labels(frame, level, state, timed)
    energy = both.seconds - gradient.seconds
    with gradient:
        timed.total()
    return energy, gradient.seconds


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """PySCF on one thread; libraries of linear algebra take theirs from OMP_NUM_THREADS."""
    with lib.with_omp_threads(1):
        yield


@pytest.mark.parametrize("n_waters", [3, 4, 6, 8])
def test_forces_in_units_of_the_energy(n_waters: int) -> None:
    frame = cluster(n_waters, 300)
    scf = {}
    for name, core in METHODS.items():
        exact = not core.get("density_fit", False)
        if exact and n_waters > 4:
            continue
        level = level_of(core, density_fit=not exact)
        if exact not in scf:
            with (clock := Clock()):
                scf[exact] = solve_environment(frame, level.environment), clock
        state, clock = scf[exact]
        energy, gradient = measure(frame, level, state)
        total = clock.seconds + energy
        print(
            f"\n{n_waters} waters, {name}: energy {total:.1f} s, forces {gradient:.1f} s, ratio {gradient / total:.2f}"
        )


@pytest.mark.parametrize("n_charges", [0, 300, 750, 1500])
def test_the_share_of_the_charges_in_forces(n_charges: int) -> None:
    frame, level = cluster(3, n_charges), level_of(METHODS["ri-mp2"])
    state = solve_environment(frame, level.environment)
    _, gradient = measure(frame, level, state)
    densities = np.array([state.density[0]] * 2)
    with (charges := Clock()):
        one_electron.hcore_gradients(state, densities)
        one_electron.charge_derivatives(state, densities)
    bare = solve_environment(
        frame.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[]), level.environment
    )
    with (nuclei := Clock()):
        one_electron.hcore_gradients(bare, densities)
    share = charges.seconds - nuclei.seconds
    print(f"\n{n_charges} charges: {share:.2f} s of {gradient:.2f} s of forces, {100 * share / gradient:.0f} %")
