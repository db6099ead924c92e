"""`SamplingSettings`: the molecular dynamics that proposes frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.settings import Settings
from aiida_hqe.units import Force, Length, Pressure, Rate, Temperature, Time


class SamplingSettings(Settings):
    """Molecular dynamics of one sampling step, with the force field alone or with a committee on the QM region.

    Attributes
    ----------
    steps, interval
        Steps of production per walker, and steps between two kept frames.
    initial_steps, equilibration_steps
        Steps of force-field production in the first round, and before it.
    trust_disagreement
        Force disagreement (eV/angstrom) at which a run stops: the committee has left what it knows. A calibrated campaign
        stops at `trust_factor` times the target force error of its selection.
    nonbonded_cutoff, ewald_tolerance
        Of the force field: Lennard-Jones terms, switched off over the last angstrom, and particle-mesh Ewald.
    minimize_tolerance
        Root mean square force at which the minimisation before equilibration ends.
    platform
        Of OpenMM; ``auto`` is the fastest one there is. Runs on one CPU thread repeat bit by bit, on several they do not.
    constraints
        Bonds kept rigid in the MM region (the QM region is always flexible).
    """

    ensemble: Literal["nvt", "npt", "nve"] = "nvt"
    temperature: Temperature = Field(300.0, gt=0)
    pressure: Pressure = 1.0
    friction: Rate = Field(0.001, gt=0)
    timestep: Time = Field(0.5, gt=0)
    walkers: int = Field(1, ge=1)
    steps: int = Field(2000, ge=1)
    interval: int = Field(20, ge=1)
    initial_steps: int = Field(5000, ge=1)
    initial_frames: int = Field(24, ge=1)
    initial_temperature: Temperature | None = None
    equilibration_steps: int = Field(2000, ge=0)
    nonbonded_cutoff: Length = Field(9.0, gt=0)
    constraints: Literal["none", "hbonds"] = "hbonds"
    ewald_tolerance: float = Field(5e-4, gt=0)
    trust_factor: float = Field(10.0, gt=1)
    minimize_tolerance: Force = Field(0.05, gt=0)
    platform: Literal["auto", "CPU", "Reference", "CUDA", "OpenCL"] = "auto"
