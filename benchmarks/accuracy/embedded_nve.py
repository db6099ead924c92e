"""Dynamics with the embedded level itself: ``python benchmarks/accuracy/embedded_nve.py [FOLDER] [BASIS] [STEPS] [FS PER STEP]``.

Methanol in the gas phase, RI-MP2 on its O-H end in PBE, at constant energy from 300 K. It prints the drift of the total
energy (slope of a straight line through it, meV/atom/ps), its fluctuation about that line, and CPU seconds per step;
``embedded_nve.json`` beside this file holds the result of one run. Every step is written to FOLDER, and a run goes on where it
was interrupted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from aiida_hqe.embedding.calculator import EmbeddedCalculator
from aiida_hqe.embedding.level import Level

HYDROXYL = [[-0.0467, -0.7580, 0.0], [0.8630, -1.0690, 0.0]]
METHYL = [[-0.0467, 0.6634, 0.0], [-1.0870, 0.9731, 0.0], [0.4359, 1.0693, 0.89], [0.4359, 1.0693, -0.89]]


def methanol(basis: str) -> Atoms:
    """Methanol with the embedded calculator, O and H first: they are the core."""
    level = Level.model_validate(
        {
            "environment": {"xc": "pbe", "basis": basis, "grid_level": 3, "density_fit": True},
            "core": {"method": "mp2", "density_fit": True, "frozen_core": True},
            "embedding": {"core_orbitals": [5]},
            "forces": "analytic",
        }
    )
    atoms = Atoms(numbers=[8, 1, 6, 1, 1, 1], positions=HYDROXYL + METHYL)
    atoms.calc = EmbeddedCalculator(level, [1, 1, 0, 0, 0, 0], threads=1)
    return atoms


def run(path: Path, atoms: Atoms, n_steps: int, timestep: float) -> list[dict[str, Any]]:
    """The steps of a run, one line of `path` each: time (fs), total energy (eV), positions, momenta, CPU seconds."""
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    thermal = np.sqrt(300.0 * units.kB * atoms.get_masses())[:, None]
    drawn = thermal * np.random.default_rng(2026).normal(size=(len(atoms), 3))
    atoms.set_momenta(drawn - drawn.mean(axis=0))
    if done:
        atoms.positions, momenta = done[-1]["positions"], done[-1]["momenta"]
        atoms.set_momenta(momenta)
    dynamics, start = VelocityVerlet(atoms, timestep * units.fs), time.process_time()
    with path.open("a") as file:
        for step in range(len(done), n_steps + 1):
            if step:
                dynamics.run(1)
            line = {
                "time": step * timestep,
                "energy": atoms.get_total_energy(),
                "potential": atoms.get_potential_energy(),
                "positions": atoms.positions.tolist(),
                "momenta": atoms.get_momenta().tolist(),
                "cpu_seconds": time.process_time() - start,
            }
            start = time.process_time()
            file.write(json.dumps(line) + "\n")
            file.flush()
            done.append(line)
    return done


def drift(lines: list[dict[str, Any]], n_atoms: int) -> dict[str, float]:
    """Drift with its standard error (meV/atom/ps), and fluctuation about the line (meV)."""
    t, energy = (np.array([line[name] for line in lines]) for name in ("time", "energy"))
    (slope, intercept), covariance = np.polyfit(t, 1e3 * energy, 1, cov=True)
    rest = 1e3 * energy - slope * t - intercept
    return {
        "picoseconds": float(t[-1] / 1e3),
        "drift": float(1e3 * slope / n_atoms),
        "drift_error": float(1e3 * np.sqrt(covariance[0, 0]) / n_atoms),
        "fluctuation": float(rest.std()),
        "potential_range": float(1e3 * np.ptp([line["potential"] for line in lines])),
        "cpu_seconds_per_step": float(np.mean([line["cpu_seconds"] for line in lines])),
    }


if __name__ == "__main__":
    given = dict(zip(("folder", "basis", "steps", "timestep"), sys.argv[1:], strict=False))
    options = {"folder": ".", "basis": "def2-svp", "steps": "400", "timestep": "0.5"} | given
    basis, timestep = options["basis"], float(options["timestep"])
    path = Path(options["folder"]) / f"nve-{basis}-{timestep:g}.jsonl"
    lines = run(path, methanol(basis), int(options["steps"]), timestep)
    result = {"basis": basis, "timestep_fs": timestep, **drift(lines, 6)}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
