"""One embedding calculation, measured: `python measure.py '{"waters": 4, "level": {...}}'` prints JSON.

CPU seconds of this process on one thread (set OMP_NUM_THREADS=1), so that other work on the machine counts little; peak memory
of the process in MB. `core` is `methanol` or `hydroxyl`; waters beyond `waters` are point charges where `charges` is true.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pyscf import lib

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.partition import partition
from aiida_hqe.frames import Frame

CLUSTER = Path(__file__).with_name("methanol_12_waters.xyz")
NUMBERS = {"H": 1, "C": 6, "O": 8}
TIP3P = [-0.834, 0.417, 0.417]
CORES = {"methanol": ([1] * 6, 9), "hydroxyl": ([0, 0, 0, 0, 1, 1], 5)}
"""Atoms of methanol that are core, and how many orbitals they get."""


def cluster(waters: int, core: str = "methanol", charges: bool = False) -> Frame:
    """Methanol with its nearest waters."""
    rows = [line.split() for line in CLUSTER.read_text().splitlines()[2:]]
    numbers, positions = [NUMBERS[row[0]] for row in rows], np.array([row[1:] for row in rows], dtype=float)
    n = 6 + 3 * waters
    outside = slice(n, None if charges else n)
    return Frame(
        numbers=numbers[:n],
        positions=positions[:n],
        charge=0,
        spin=0,
        core=CORES[core][0] + [0] * (3 * waters),
        mm_numbers=numbers[outside],
        mm_positions=positions[outside],
        mm_charges=TIP3P * (len(numbers[outside]) // 3),
    )


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the CPU time of a block to `seconds`."""
    start = time.process_time()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.process_time() - start


def watched(module: Any, name: str, seconds: dict[str, float], label: str) -> None:
    """Measures every call of a function of a module."""
    function: Callable[..., Any] = getattr(module, name)

    def call(*arguments: Any, **options: Any) -> Any:
        with timed(seconds, label):
            return function(*arguments, **options)

    setattr(module, name, call)


def measure(waters: int, level: Level, core: str = "methanol", charges: bool = False) -> dict[str, Any]:
    """Seconds, energies (hartree) and peak memory (MB) of one calculation."""
    frame, seconds = cluster(waters, core, charges), dict[str, float]()
    watched(correlation, "_integrals", seconds, "integrals")
    watched(correlation, "mp2_energy", seconds, "mp2")
    with timed(seconds, "environment"):
        state = solve_environment(frame, level.environment)
    with timed(seconds, "partition"):
        split = partition(state, core_atoms(frame, 1), level.embedding.partition, CORES[core][1])
    with timed(seconds, "mean_field"):
        high = meanfield.HartreeFock(state, level.core.density_fit)
        embedded = meanfield.embed(state, split, level.embedding, high)
    with timed(seconds, "virtuals"):
        if level.core.virtuals != "full":
            correlation.truncate(
                embedded, high, correlation.full_space(embedded, level.core.frozen_core), level.core.virtuals
            )
    with timed(seconds, "correlated"):
        found = correlation.correlate(embedded, high, level.core)
    seconds["solver"] = seconds["correlated"] - seconds.get("integrals", 0.0) - seconds.get("mp2", 0.0)
    return {
        "waters": waters,
        "orbitals": int(state.mol.nao),
        "virtuals": found.virtuals,
        "seconds": seconds,
        "environment_energy": state.energy,
        "mean_field_energy": embedded.energy,
        "correlation_energy": found.correlation,
        "triples_energy": found.triples,
        "mp2_correction": found.mp2_correction,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main(arguments: dict[str, Any]) -> None:
    """Print what `measure` says."""
    level = Level.model_validate(arguments.pop("level"))
    with lib.with_omp_threads(1):
        print(json.dumps(measure(level=level, **arguments)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
