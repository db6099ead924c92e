"""Forces that a time step of dynamics resolves: a network's energy changes by the work of its forces, taken at a few points."""

from __future__ import annotations

import numpy as np
from potential_cases import SETTINGS, untrained

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.settings import PotentialSettings

STEP = 0.02
"""What a hydrogen moves in a time step (angstrom)."""


def work_missed(smoothing: float) -> Floats:
    """Change of the energy less the work of the forces at three points of each step (eV), as oxygen passes the plane of H3O+.

    In the plane, by symmetry, all vector features of oxygen vanish: what a network makes of their length is put to the test.
    """
    committee = untrained(1, settings=SETTINGS.model_copy(update={"smoothing": smoothing}), charge=1)
    angles = np.radians([0.0, 120.0, 240.0])
    hydrogens = np.stack([0.98 * np.cos(angles), 0.98 * np.sin(angles), np.zeros(3)], axis=1)

    def energy_and_force(height: float) -> tuple[float, float]:
        positions = np.concatenate([[[0.0, 0.0, height]], hydrogens])
        found = committee.evaluate(Frame(numbers=np.array([8, 1, 1, 1]), positions=positions, charge=1, spin=0))
        return float(found.energy), float(found.forces[0, 2])

    heights = STEP * (np.arange(-5, 6) + 0.3)
    ends = [energy_and_force(z)[0] for z in (*heights, heights[-1] + STEP)]
    points, weights = np.polynomial.legendre.leggauss(3)
    forces = [[energy_and_force(z + 0.5 * STEP * (1.0 + p))[1] for p in points] for z in heights]
    return np.diff(ends) + 0.5 * STEP * (np.array(forces) @ weights)


def test_a_time_step_resolves_the_forces_of_painn_where_vector_features_vanish() -> None:
    sharp, smooth = (np.abs(work_missed(smoothing)).max() for smoothing in (1e-8, PotentialSettings().smoothing))
    assert sharp > 1e-6  # eV: the test sees what it is about
    assert smooth < 1e-9
