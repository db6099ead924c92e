"""NVE dynamics with a trained committee beside those of the force field, and the drift of the total energy.

    python benchmarks/accuracy/potential_nve.py COMMITTEE.safetensors ASSEMBLY.h5 [PICOSECONDS] [SEEDS] [ARM ...]

Steps of 0.5 fs, water rigid, Ewald tolerance 1e-5, one thread; SEEDS as in 2,3; arms are `force field`, `float32`, `float64`
(precision of the committee, whose mean drives), `member` (one member drives, float32), and `rounding`. Each run relaxes for
0.2 ps at 300 K before. A run goes to potential_nve.json: slope of the total energy with its standard error (of means over ten
parts, for neighbouring energies are correlated) and the fluctuation about the line; the mean over the seeds is printed.

`rounding` makes a short run in single precision and adds up the work of the difference between the forces in single and in double
precision. Unlike the total energy, whose fluctuation is that of the integrator, this is exact: it is the drift that single
precision causes, and, as the differences of successive steps are uncorrelated, how it grows: as a random walk.
"""

from __future__ import annotations

import itertools
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

EVERY = 5
PARTS = 10
TIMESTEP = 0.5
"""fs"""
ARMS = ("force field", "float32", "rounding")
ROUNDING_STEPS = 1000


def drivers(committee: Committee) -> dict[str, Driver | None]:
    """What supplies the QM region in each arm."""
    single = committee.replace(precision="float32")
    return {"force field": None, "float32": single, "member": single.alone(0), "float64": committee}


def start(assembly: Assembly, driver: Driver | None, seed: int) -> Simulation:
    """A run at constant energy from a relaxed state."""
    warm = SamplingSettings(ewald_tolerance=1e-5, nonbonded_cutoff="8 angstrom", platform="CPU", friction="10 1/ps")
    relax = Simulation(assembly, warm, seed=seed, force=_force(assembly, driver), fresh_velocities=True)
    relax.step(400)
    calm = warm.model_copy(update={"ensemble": "nve"})
    return Simulation(relax.assembly(), calm, seed=seed, force=_force(assembly, driver))


def energies(run: Simulation, steps: int) -> tuple[np.ndarray, float]:
    """Total energies (meV) every few steps, and CPU time per step (ms)."""
    found, begin = [], time.process_time()
    for _ in range(steps // EVERY):
        run.step(EVERY)
        state = run.context.getState(energy=True)
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        found.append(total.value_in_unit(unit.kilojoule_per_mole) * 10.364269574711573)
    return np.array(found), 1e3 * (time.process_time() - begin) / steps


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


def rounding(assembly: Assembly, committee: Committee, seed: int) -> dict[str, float]:
    """Work of the rounding of forces (meV): of a step, its standard deviation, and what that makes of 10 ps (meV/ps)."""
    single = committee.replace(precision="float32")
    run, both = start(assembly, single, seed), [RegionForce(assembly, driver) for driver in (single, committee)]
    work, errors = [], []
    for _ in range(ROUNDING_STEPS):
        run.step(1)
        now = run.assembly()
        found = [force.energy_and_forces(now.positions, now.box)[1] for force in both]
        work.append(1e3 * TIMESTEP * float((now.velocities * (found[0] - found[1])).sum()))
        errors.append(float(np.sqrt(((found[0] - found[1])[assembly.qm_atoms] ** 2).mean())))
    spread, pairs = float(np.std(work)), np.corrcoef(work[:-1], work[1:])
    return {
        "work": float(np.sum(work)),
        "picoseconds": 1e-3 * TIMESTEP * len(work),
        "deviation_of_a_step": spread,
        "correlation_of_neighbours": float(pairs[0, 1]),
        "slope_over_10_ps": spread * np.sqrt(10.0 / (1e-3 * TIMESTEP)) / 10.0,
        "force_error": float(np.mean(errors)),
    }


def main(committee: str, assembly: str, picoseconds: str = "10", seeds: str = "1", *arms: str) -> None:
    """Run the arms and note what they found."""
    path, origin, model = Path(__file__).with_suffix(".json"), Assembly.read(Path(assembly)), Committee.load(committee)
    steps = round(float(picoseconds) / (1e-3 * TIMESTEP))
    for seed, arm in itertools.product(seeds.split(","), arms or ARMS):
        if arm == "rounding":
            found = rounding(origin, model, int(seed))
        else:
            values, milliseconds = energies(start(origin, drivers(model)[arm], int(seed)), steps)
            found = drift(values, TIMESTEP) | {"atoms": origin.n_atoms, "cpu_milliseconds_per_step": milliseconds}
        table = json.loads(path.read_text()) if path.is_file() else {}
        table.setdefault(arm, {})[seed] = found
        path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        print(arm, seed, found, flush=True)
    for arm, runs in json.loads(path.read_text()).items():
        slopes = [run["slope"] for run in runs.values() if "slope" in run]
        if len(slopes) > 1:
            print(f"{arm}: {np.mean(slopes):.4f} +- {np.std(slopes, ddof=1) / np.sqrt(len(slopes)):.4f} meV/ps")


if __name__ == "__main__":
    main(*sys.argv[1:])
