"""One molecular-dynamics run in OpenMM: system, integrator, platform, and its state in angstrom and fs."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import openmm
from openmm import unit

from aiida_hqe.dynamics.bias import Bias
from aiida_hqe.dynamics.region import RegionForce, hand_over
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.periodic import half_box
from aiida_hqe.qmmm.setup import nonbonded
from aiida_hqe.units import KJ_PER_MOL, NM

_FS_PER_PS = 1000.0
_LJ_SWITCH = 1.0
"""Lennard-Jones forces are switched off over this last part of their cutoff (angstrom), so that energy is continuous."""

_MAX_SEED = 2**31 - 1


class Simulation:
    """A run from the state of an assembly, by the force field alone or with a driver in the QM region.

    Parameters
    ----------
    assembly, sampling
        What moves and how.
    seed
        Of velocities and thermostat.
    force
        Supplies the QM region; ``None`` for the force field alone.
    fresh_velocities
        Draw velocities even if the assembly has some.

    Raises
    ------
    InputError
        The nonbonded cutoff exceeds half the box, or the ensemble needs a box and there is none.
    ResourceError
        This machine lacks the platform.
    """

    def __init__(
        self,
        assembly: Assembly,
        sampling: SamplingSettings,
        *,
        seed: int,
        force: RegionForce | None = None,
        fresh_velocities: bool = False,
    ) -> None:
        self._assembly = assembly
        self.system = build_system(assembly, sampling, force)
        seeds = [1 + int(s) % _MAX_SEED for s in np.random.SeedSequence(seed).generate_state(3)]
        if sampling.ensemble == "npt":
            barostat = openmm.MonteCarloBarostat(sampling.pressure * unit.bar, sampling.temperature * unit.kelvin)
            barostat.setRandomNumberSeed(seeds[2])
            self.system.addForce(barostat)
        self.bias: Bias | None = None
        if sampling.bias is not None:
            n_atoms, periodic = self.system.getNumParticles(), assembly.box is not None
            self.bias = Bias(sampling.bias, sampling.temperature, n_atoms, periodic)
            self.system.addForce(self.bias.force)
        self._steps = 0
        self.integrator = _integrator(sampling, seeds[0])
        name, properties = _platform(sampling.platform)
        self.context = openmm.Context(self.system, self.integrator, openmm.Platform.getPlatformByName(name), properties)
        if assembly.box is not None:
            self.context.setPeriodicBoxVectors(*(assembly.box / NM))
        self.context.setPositions(assembly.positions / NM)
        self.context.computeVirtualSites()
        self._draw = (sampling.temperature, seeds[1])
        if assembly.velocities is None or fresh_velocities:
            self.draw_velocities()
        else:
            self.context.setVelocities(assembly.velocities * (_FS_PER_PS / NM))
        moving = sum(self.system.getParticleMass(k) > 0 * unit.dalton for k in range(self.system.getNumParticles()))
        self._degrees_of_freedom = 3 * moving - self.system.getNumConstraints()

    def draw_velocities(self) -> None:
        """Draw velocities of the run's temperature."""
        self.context.setVelocitiesToTemperature(*self._draw)

    def step(self, steps: int) -> None:
        """Integrate a number of steps; metadynamics deposits its Gaussians on the way."""
        every = steps if self.bias is None else self.bias.settings.every
        while steps > 0:
            chunk = min(steps, every - self._steps % every)
            self.integrator.step(chunk)
            self._steps += chunk
            steps -= chunk
            if self.bias is not None and self._steps % every == 0:
                self.bias.deposit(self.context)

    def checkpoint(self) -> bytes:
        """OpenMM's checkpoint of the present state, from which this run itself goes on afresh.

        A run and one restored from its checkpoint then have the same future to the last bit, for neither remembers more than
        the other: lists of neighbours, say, which set the order of sums.
        """
        state: bytes = self.context.createCheckpoint()
        self.restore(state, self._steps, None if self.bias is None else self.bias.heights)
        return state

    def restore(self, state: bytes, steps: int, heights: Floats | None = None) -> None:
        """Go on from a checkpoint, after this number of steps and with this bias potential (eV)."""
        self._steps = steps
        self.context.reinitialize(True)
        if self.bias is not None and heights is not None:
            self.bias.restore(self.context, heights)
        self.context.loadCheckpoint(state)

    def minimize(self, tolerance: float, iterations: int = 0) -> None:
        """Minimise the energy until the root mean square force is below `tolerance` (eV/angstrom)."""
        openmm.LocalEnergyMinimizer.minimize(self.context, tolerance * NM / KJ_PER_MOL, iterations)

    def temperature(self) -> float:
        """Instantaneous temperature, K."""
        kinetic = self.context.getState(energy=True).getKineticEnergy()
        return float(2.0 * kinetic / (self._degrees_of_freedom * unit.MOLAR_GAS_CONSTANT_R) / unit.kelvin)

    def positions(self) -> tuple[Floats, Floats | None]:
        """Positions (n, 3) and box (3, 3) or ``None``, angstrom."""
        state = self.context.getState(positions=True)
        return self._lengths(state)

    def assembly(self) -> Assembly:
        """The assembly in the present state of the run."""
        state = self.context.getState(positions=True, velocities=True)
        positions, box = self._lengths(state)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond) * (
            NM / _FS_PER_PS
        )
        return self._assembly.replace(positions=positions, velocities=velocities, box=box)

    def _lengths(self, state: Any) -> tuple[Floats, Floats | None]:
        positions = NM * state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        if self._assembly.box is None:
            return positions, None
        return positions, NM * state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)


def build_system(assembly: Assembly, sampling: SamplingSettings, force: RegionForce | None = None) -> openmm.System:
    """OpenMM `System` of a run: rigid bonds as asked in the MM region, none in the QM region, which `force` may drive."""
    system = openmm.XmlSerializer.deserialize(assembly.system)
    region = set(assembly.qm_atoms.tolist())
    for k in reversed(range(system.getNumConstraints())):
        if sampling.constraints == "none" or region & set(system.getConstraintParameters(k)[:2]):
            system.removeConstraint(k)
    _set_cutoff(nonbonded(system), assembly.box, sampling)
    if sampling.ensemble == "npt" and assembly.box is None:
        raise InputError("a periodic box was expected for npt (got none): solvate, or choose nvt", "sampling.ensemble")
    if force is not None:
        hand_over(system, region, force)
    return system


def _set_cutoff(force: openmm.NonbondedForce, box: Floats | None, sampling: SamplingSettings) -> None:
    if box is None:
        return
    cutoff = sampling.nonbonded_cutoff
    if cutoff > half_box(box):
        raise InputError(
            f"a nonbonded cutoff within half the shortest box edge, {half_box(box):.2f} angstrom, was expected"
            f" (got {cutoff:.2f}): shorten it or enlarge the box",
            "sampling.nonbonded_cutoff",
        )
    force.setCutoffDistance(cutoff / NM)
    force.setUseSwitchingFunction(True)
    force.setSwitchingDistance(max(cutoff - _LJ_SWITCH, 0.5 * cutoff) / NM)
    force.setEwaldErrorTolerance(sampling.ewald_tolerance)


def _integrator(sampling: SamplingSettings, seed: int) -> openmm.Integrator:
    timestep = sampling.timestep / _FS_PER_PS
    if sampling.ensemble == "nve":
        integrator = openmm.VerletIntegrator(timestep)
    else:
        integrator = openmm.LangevinMiddleIntegrator(sampling.temperature, sampling.friction * _FS_PER_PS, timestep)
        integrator.setRandomNumberSeed(seed)
    integrator.setConstraintTolerance(1e-6)
    return integrator


def _platform(asked: str) -> tuple[str, dict[str, str]]:
    """Name and properties of the platform; ``auto`` is the fastest that this machine has and that works on it."""
    order = ("CUDA", "OpenCL", "CPU", "Reference") if asked == "auto" else (asked,)
    name = next((name for name in order if _fault(name) is None), None)
    if name is None:
        raise ResourceError(
            f"OpenMM's platform {asked} was expected (got {', '.join(platforms())}; of {asked}: {_fault(asked)}): choose auto, or"
            " install it"
        )
    return name, _properties(name)


def _properties(name: str) -> dict[str, str]:
    """Properties of a platform: mixed precision on a GPU, and forces that repeat where there is such a choice."""
    repeated = {"DeterministicForces": "true"}
    chosen = {"CUDA": {"Precision": "mixed"} | repeated, "OpenCL": {"Precision": "mixed"}, "Reference": {}}
    return chosen[name] if name != "CPU" else {"Threads": threads()} | repeated


@functools.cache
def _fault(name: str) -> str | None:
    """Why no run is possible on a platform: there is none, or no device of it has the precision; ``None`` where one is."""
    if name not in platforms():
        return "there is none"
    system, platform = openmm.System(), openmm.Platform.getPlatformByName(name)
    system.addParticle(1.0)
    try:
        openmm.Context(system, openmm.VerletIntegrator(0.001), platform, _properties(name))
    except openmm.OpenMMException as error:
        return " ".join(str(error).split())
    return None


def platforms() -> list[str]:
    """Names of OpenMM's platforms on this machine."""
    return [openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())]


def threads() -> str:
    """Number of threads of a CPU run: OPENMM_CPU_THREADS, else OMP_NUM_THREADS, else 1."""
    return os.environ.get("OPENMM_CPU_THREADS") or os.environ.get("OMP_NUM_THREADS") or "1"
