"""NVE dynamics with a trained committee beside those of the force field, and the drift of the total energy.

    python benchmarks/accuracy/potential_nve.py COMMITTEE.safetensors ASSEMBLY.h5 [PICOSECONDS] [ARM ...]

Steps of 0.5 fs, water rigid, Ewald tolerance 1e-5, one thread; arms are `force field`, `float32`, `float64` (precision of the
committee, whose mean drives) and `member` (one member drives, float32). Each arm relaxes for 0.2 ps at 300 K before. A line per
arm goes to potential_nve.json: slope of the total energy with its standard error (of means over ten parts, for neighbouring
energies are correlated) and the fluctuation about the line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from openmm import unit

from aiida_hqe.dynamics.driver import Driver
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.qmmm.assembly import Assembly

EVERY = 20
PARTS = 10
ARMS = ("force field", "float32", "member", "float64")


def drivers(committee: Committee) -> dict[str, Driver | None]:
    """What supplies the QM region in each arm."""
    single = committee.replace(precision="float32")
    return {"force field": None, "float32": single, "member": single.alone(0), "float64": committee}


def energies(assembly: Assembly, driver: Driver | None, picoseconds: float) -> tuple[np.ndarray, float]:
    """Total energies (meV) every 20 steps, and CPU time per step (ms)."""
    warm = SamplingSettings(ewald_tolerance=1e-5, nonbonded_cutoff="8 angstrom", platform="CPU", friction="10 1/ps")
    relax = Simulation(assembly, warm, seed=1, force=_force(assembly, driver), fresh_velocities=True)
    relax.step(400)
    calm = warm.model_copy(update={"ensemble": "nve"})
    run = Simulation(relax.assembly(), calm, seed=1, force=_force(assembly, driver))
    found, start = [], time.process_time()
    steps = round(picoseconds / (1e-3 * calm.timestep))
    for _ in range(steps // EVERY):
        run.step(EVERY)
        state = run.context.getState(energy=True)
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        found.append(total.value_in_unit(unit.kilojoule_per_mole) * 10.364269574711573)
    return np.array(found), 1e3 * (time.process_time() - start) / steps


def _force(assembly: Assembly, driver: Driver | None) -> RegionForce | None:
    return None if driver is None else RegionForce(assembly, driver)


def drift(values: np.ndarray, timestep: float) -> dict[str, float]:
    """Slope (meV/ps), its standard error, fluctuation about the line (meV)."""
    moments = np.arange(len(values)) * EVERY * timestep * 1e-3
    slope, offset = np.polyfit(moments, values, 1)
    parts = [part.mean() for part in np.array_split(values - slope * moments - offset, PARTS)]
    centres = [part.mean() for part in np.array_split(moments, PARTS)]
    error = np.std(parts, ddof=2) / np.sqrt(np.sum((centres - np.mean(centres)) ** 2))
    noise = np.std(values - slope * moments - offset)
    return {"slope": float(slope), "error": float(error), "noise": float(noise), "picoseconds": float(moments[-1])}


def main(committee: str, assembly: str, picoseconds: float = 10.0, arms: tuple[str, ...] = ARMS) -> None:
    """Run the arms and note what they found."""
    path, start = Path(__file__).with_suffix(".json"), Assembly.read(Path(assembly))
    table = json.loads(path.read_text()) if path.is_file() else {}
    for arm in arms:
        values, milliseconds = energies(start, drivers(Committee.load(committee))[arm], picoseconds)
        table[arm] = drift(values, 0.5) | {"atoms": start.n_atoms, "cpu_milliseconds_per_step": milliseconds}
        path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        print(arm, table[arm], flush=True)


if __name__ == "__main__":
    names = tuple(sys.argv[4:]) or ARMS
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 10.0, names)
