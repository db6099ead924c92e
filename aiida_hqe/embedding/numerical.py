"""Forces of the target level by central differences of its energy, with the number of core orbitals held fixed.

They cost six energies an atom and six a point charge: for small systems and for checks.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from pyscf import lib

from aiida_hqe.frames import Floats, Frame

STEP = 0.002
"""Displacement in angstrom: the error of the difference is about 2e-6, the roughness of a GGA about 1e-6 hartree/bohr."""

Energy = Callable[[Frame], float]


def numerical_forces(frame: Frame, energy: Energy, workers: int = 1) -> tuple[Floats, Floats]:
    """Forces on the QM atoms (n_qm, 3) and on the point charges (n_mm, 3), eV/angstrom.

    Parameters
    ----------
    frame
        Configuration.
    energy
        Energy of a frame in eV; with more than one worker it must be picklable.
    workers
        Processes that share the displacements, each with one thread.
    """
    everywhere = np.vstack([frame.positions, frame.mm_positions])
    moved = []
    for index in np.ndindex(everywhere.shape):
        for sign in (1, -1):
            displaced = everywhere.copy()
            displaced[index] += sign * STEP
            moved.append(frame.replace(positions=displaced[: frame.n_qm], mm_positions=displaced[frame.n_qm :]))
    if workers == 1:
        energies = [energy(each) for each in moved]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=lib.num_threads, initargs=(1,)) as pool:
            energies = list(pool.map(energy, moved))
    differences = np.array(energies).reshape(-1, 2)
    forces = -(differences[:, 0] - differences[:, 1]).reshape(-1, 3) / (2 * STEP)
    return forces[: frame.n_qm], forces[frame.n_qm :]
