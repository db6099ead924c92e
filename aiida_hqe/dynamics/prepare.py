"""Minimise and equilibrate an assembly with its force field."""

from __future__ import annotations

from collections.abc import Callable

import openmm

from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.errors import ConvergenceError
from aiida_hqe.qmmm.assembly import Assembly

_CHUNK = 100

_FRICTION = 0.01
"""Friction of equilibration (1/fs): strong, so that a minimised system is warm after a picosecond."""


def prepare(
    assembly: Assembly, sampling: SamplingSettings, seed: int, progress: Callable[[int, int], None] | None = None
) -> Assembly:
    """Minimised and equilibrated assembly, with velocities.

    Parameters
    ----------
    assembly, sampling, seed
        Where to start, and how: ensemble, temperature, number of equilibration steps.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    ConvergenceError
        The run exploded.
    """
    total = sampling.equilibration_steps
    thermostat = {
        "ensemble": "npt" if sampling.ensemble == "npt" else "nvt",
        "friction": max(sampling.friction, _FRICTION),
        "bias": None,
    }
    simulation = Simulation(assembly, sampling.model_copy(update=thermostat), seed=seed)
    try:
        simulation.minimize(sampling.minimize_tolerance)
        simulation.draw_velocities()
        for done in range(0, total, _CHUNK):
            simulation.step(min(_CHUNK, total - done))
            if progress is not None:
                progress(min(done + _CHUNK, total), total)
        return simulation.assembly()
    except openmm.OpenMMException as error:
        raise ConvergenceError(
            f"a stable equilibration was expected (got: {error}): repair the structure or shorten sampling.timestep"
        ) from error
