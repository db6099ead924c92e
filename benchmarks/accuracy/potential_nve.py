"""NVE dynamics with a trained committee beside those of the force field, and the drift of their energy.

    python benchmarks/accuracy/potential_nve.py COMMITTEE.safetensors ASSEMBLY.h5 [PICOSECONDS] [SEEDS] [ARM ...]
    python benchmarks/accuracy/potential_nve.py          what potential_nve.json says

Steps of 0.5 fs, water rigid, Ewald tolerance 1e-5, one thread; SEEDS as in 2,3; arms are `force field`, `float32`, `float64`
(precision of the committee, whose mean drives), `member` (one member drives, float32), `sharp` (the same weights with hardly any
`smoothing`, as SchNetPack's own PaiNN), and `rounding`. Each run relaxes for 0.2 ps at 300 K before, from the same state and with
the same seed in all arms.

Two energies are followed, in meV. `total` is potential plus kinetic energy. It is not what such a run conserves, even with exact
forces: it fluctuates with the steps of the integrator, and with the pairs of charges within the cutoff of Ewald's direct sum,
which ends in a jump; both wander as the system does. `conserved` leaves these two out (`aiida_hqe.dynamics.shadow`, and `Jumps`),
so that what changes it is what must not be: forces that are not derivatives of the energy, rounding among them, and forces that
turn more sharply than a step resolves. A run goes to
potential_nve.json: slope of each energy, fluctuation about the line, slopes of its quarters, and, of the total energy, what the
QM atoms, the water and the jumps have in its slope.

What is printed of each energy: mean slope of each arm over its seeds, root mean square slope (its wandering), and the ratio of
the latter to the force field's with its two-sided 90 % interval (F distribution; slopes of random walks are normal). "Within
twice" holds at 95 % where the interval ends below 2.

`rounding` makes a short run in single precision and adds up the work of the difference between the forces in single and in double
precision: the drift that the single precision of the networks causes. As the differences of successive steps are uncorrelated, it
grows as a random walk.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from scipy.special import erfc
from scipy.stats import f as f_distribution

from aiida_hqe.dynamics.driver import Driver
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.shadow import REACH, shadow_kinetic
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.setup import nonbonded
from aiida_hqe.units import COULOMB, KJ_PER_MOL, NM

EVERY = 40
TIMESTEP = 0.5
"""fs"""
ARMS = ("force field", "float32", "rounding")
PARTS = 4
ROUNDING_STEPS = 1000
TABLE = Path(__file__).with_suffix(".json")


def drivers(committee: Committee) -> dict[str, Driver | None]:
    """What supplies the QM region in each arm."""
    single = committee.replace(precision="float32")
    sharp = single.replace(settings=committee.settings.model_copy(update={"smoothing": 1e-8}))
    return {"force field": None, "float32": single, "member": single.alone(0), "float64": committee, "sharp": sharp}


def start(assembly: Assembly, driver: Driver | None, seed: int) -> Simulation:
    """A run at constant energy from a relaxed state."""
    warm = SamplingSettings(ewald_tolerance=1e-5, nonbonded_cutoff="8 angstrom", platform="CPU", friction="10 1/ps")
    relax = Simulation(assembly, warm, seed=seed, force=_force(assembly, driver), fresh_velocities=True)
    relax.step(400)
    calm = warm.model_copy(update={"ensemble": "nve"})
    return Simulation(relax.assembly(), calm, seed=seed, force=_force(assembly, driver))


def _force(assembly: Assembly, driver: Driver | None) -> RegionForce | None:
    return None if driver is None else RegionForce(assembly, driver)


class Jumps:
    """What the energy gains (meV) as pairs of charges come within the cutoff of Ewald's direct sum, where it is not zero yet.

    The forces say nothing of it. The decay of the direct sum is chosen by OpenMM from the cutoff and the tolerance.
    """

    def __init__(self, system: openmm.System) -> None:
        known = nonbonded(system)
        cutoff = known.getCutoffDistance().value_in_unit(unit.nanometer)
        decay = np.sqrt(-np.log(2.0 * known.getEwaldErrorTolerance())) / cutoff
        self._at_cutoff = 1e3 * COULOMB / (NM * cutoff) * erfc(decay * cutoff)
        pairs = openmm.CustomNonbondedForce("q1*q2")
        pairs.addPerParticleParameter("q")
        pairs.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
        pairs.setCutoffDistance(cutoff)
        same = openmm.System()
        same.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
        for k in range(system.getNumParticles()):
            same.addParticle(1.0)
            pairs.addParticle([known.getParticleParameters(k)[0]])
        for k in range(known.getNumExceptions()):
            pairs.addExclusion(*known.getExceptionParameters(k)[:2])
        same.addForce(pairs)
        self._context = openmm.Context(same, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))

    def __call__(self, positions: np.ndarray, box: np.ndarray) -> float:
        self._context.setPeriodicBoxVectors(*(box / NM))
        self._context.setPositions(positions / NM)
        return self._at_cutoff * float(self._context.getState(energy=True).getPotentialEnergy()._value)


def follow(run: Simulation, assembly: Assembly, steps: int) -> tuple[np.ndarray, float]:
    """What happens to the energies every few steps (meV), and CPU time per step (ms).

    A row holds the potential energy, the kinetic energies of QM atoms and others, what these two are in the conserved energy, and
    the jumps.
    """
    masses = np.array([run.system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(assembly.n_atoms)])
    qm, jumps, found, spent = np.isin(np.arange(assembly.n_atoms), assembly.qm_atoms), Jumps(run.system), [], 0.0
    for _ in range(steps // EVERY):
        begin, path = time.process_time(), []
        run.step(EVERY - 2 * REACH)
        for number in range(2 * REACH + 1):
            path.append(run.positions()[0])
            if number == REACH:
                state, box = run.context.getState(energy=True), run.positions()[1]
            if number < 2 * REACH:
                run.step(1)
        spent += time.process_time() - begin
        shadow = shadow_kinetic(np.array(path), masses, TIMESTEP)
        plain = 1e3 * KJ_PER_MOL / NM**2 * 0.5e6 * masses * ((path[REACH + 1] - path[REACH - 1]) ** 2).sum(axis=1)
        plain /= (2.0 * TIMESTEP) ** 2
        potential = 1e3 * KJ_PER_MOL * state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        kinetic = [part.sum() for part in (plain[qm], plain[~qm], 1e3 * shadow[qm], 1e3 * shadow[~qm])]
        found.append([potential, *kinetic, jumps(path[REACH], box)])
    return np.array(found), 1e3 * spent / steps


def slope(values: np.ndarray, timestep: float = TIMESTEP) -> float:
    """Of a line through energies of every few steps, meV/ps."""
    return float(np.polyfit(np.arange(len(values)) * EVERY * timestep * 1e-3, values, 1)[0])


def drift(values: np.ndarray) -> dict[str, float | list[float]]:
    """Slope (meV/ps), fluctuation about the line (meV), and the slopes of the parts of a run."""
    moments = np.arange(len(values))
    noise = np.std(values - np.polyval(np.polyfit(moments, values, 1), moments))
    return {"slope": slope(values), "noise": float(noise), "parts": [slope(p) for p in np.array_split(values, PARTS)]}


def energies(rows: np.ndarray) -> dict[str, dict[str, float | list[float]]]:
    """Drift of both energies, and what makes the difference of their slopes."""
    potential, qm, mm, shadow_qm, shadow_mm, jumps = rows.T
    differences = {"QM steps": qm - shadow_qm, "MM steps": mm - shadow_mm, "jumps": jumps}
    return {
        "total": drift(potential + qm + mm),
        "conserved": drift(potential + shadow_qm + shadow_mm - jumps),
        "difference": {name: slope(part) for name, part in differences.items()},
    }


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


def main(committee: str = "", assembly: str = "", picoseconds: str = "10", seeds: str = "1", *arms: str) -> None:
    """Run the arms and note what they found; say what is known."""
    if committee:
        origin, model = Assembly.read(Path(assembly)), Committee.load(committee)
        steps = round(float(picoseconds) / (1e-3 * TIMESTEP))
        for seed, arm in itertools.product(seeds.split(","), arms or ARMS):
            if arm == "rounding":
                found = rounding(origin, model, int(seed))
            else:
                rows, milliseconds = follow(start(origin, drivers(model)[arm], int(seed)), origin, steps)
                found = energies(rows) | {"atoms": origin.n_atoms, "picoseconds": float(picoseconds)}
                found["cpu_milliseconds_per_step"] = milliseconds
            table = json.loads(TABLE.read_text()) if TABLE.is_file() else {}
            table.setdefault(arm, {})[seed] = found
            TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
            print(arm, seed, found, flush=True)
    report(json.loads(TABLE.read_text()))


def report(table: dict[str, dict[str, dict]]) -> None:
    """Mean and size of the slopes of each arm, of whole runs and of their parts, and the ratio of sizes to the force field's."""
    for energy, part in itertools.product(("total", "conserved"), (False, True)):
        print(f"{energy} energy, slopes of {f'{PARTS} parts of each run' if part else 'runs'}, meV/ps")
        for arm, runs in table.items():
            if arm != "rounding":
                other = table.get("force field", runs)
                print(f"  {arm}: {_summary(_slopes(runs, energy, part), _slopes(other, energy, part))}")


def _slopes(runs: dict[str, dict], energy: str, part: bool) -> np.ndarray:
    return np.concatenate([np.atleast_1d(run[energy]["parts" if part else "slope"]) for run in runs.values()])


def _summary(found: np.ndarray, other: np.ndarray) -> str:
    """Mean, its error, and root mean square; ratio of the latter to that of `other`, with its two-sided 90 % interval."""
    size, n, m = np.sqrt(np.mean(found**2)), len(found), len(other)
    text = f"mean {found.mean():.4f}"
    if n > 1:
        text += f" +- {np.std(found, ddof=1) / np.sqrt(n):.4f}"
    text += f", root mean square {size:.4f} (of {n})"
    if np.array_equal(found, other):
        return text
    ratio = size / np.sqrt(np.mean(other**2))
    low, high = (ratio / np.sqrt(f_distribution.ppf(p, n, m)) for p in (0.95, 0.05))
    return f"{text}, {ratio:.2f} times the force field's ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main(*sys.argv[1:])
