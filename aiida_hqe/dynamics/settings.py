"""`SamplingSettings`: the molecular dynamics that proposes frames."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aiida_hqe.errors import InputError
from aiida_hqe.settings import Settings
from aiida_hqe.units import Energy, Force, Length, Pressure, Rate, Temperature, Time

MOST_STEPS = 10**9
"""Half a microsecond of ML/MM dynamics, which is years of it."""

MOST_FRAMES = 100_000
"""Of one sampling step, which are some GB in memory."""

HOTTEST = 10_000.0
"""K; hotter than that, electrons are not in the ground state that labels are of."""


class BiasSettings(Settings):
    """Bias along the sum of `distances`, pairs of atoms counted from 0 in the topology, each times its sign (+1 without).

    Attributes
    ----------
    kind
        ``harmonic`` keeps the coordinate about `centre`; ``metadynamics`` drives it out of where it has been, between `lower`
        and `upper`.
    width
        Standard deviation that the harmonic bias allows at the temperature of the run; that of a Gaussian of metadynamics.
    height, bias_factor, every
        First height of the Gaussians, factor by which well-tempered metadynamics flattens barriers, and steps between two.
    """

    kind: Literal["harmonic", "metadynamics"] = "harmonic"
    distances: list[list[int]] = Field(min_length=1)
    signs: list[Literal[-1, 1]] | None = None
    centre: Length | None = Field(None, ge=-1000, le=1000)
    width: Length = Field(0.1, ge=0.001, le=100)
    lower: Length | None = Field(None, ge=-1000, le=1000)
    upper: Length | None = Field(None, ge=-1000, le=1000)
    height: Energy = Field(0.01, gt=0, le=100)
    bias_factor: float = Field(10.0, gt=1, le=1e9)
    every: int = Field(100, ge=1, le=MOST_STEPS)

    @model_validator(mode="after")
    def _complete(self) -> BiasSettings:
        if self.signs is not None and len(self.signs) != len(self.distances):
            raise ValueError(f"one sign for each of the {len(self.distances)} distances was expected: correct signs")
        if any(len(set(pair)) != 2 or len(pair) != 2 or min(pair) < 0 for pair in self.distances):
            raise ValueError("distances between two different atoms, [0, 4] say, were expected: correct them")
        if self.kind == "harmonic" and self.centre is None:
            raise ValueError("a centre was expected for a harmonic bias: give one")
        if self.kind == "metadynamics" and (self.lower is None or self.upper is None or self.lower >= self.upper):
            raise ValueError("lower below upper was expected for metadynamics: give the range of the coordinate")
        return self

    def check(self, n_atoms: int) -> None:
        """See that a system of so many atoms has those of the coordinate.

        Raises
        ------
        InputError
            There is no such atom.
        """
        for position, pair in enumerate(self.distances):
            outside = [atom for atom in pair if atom >= n_atoms]
            if outside:
                raise InputError(
                    f"an atom from 0 to {n_atoms - 1} was expected, because the assembly holds {n_atoms} (got {outside[0]}):"
                    " count from 0, water that was added included",
                    f"sampling.bias.distances.{position}",
                )


class SamplingSettings(Settings):
    """Molecular dynamics of one sampling step, with the force field alone or with a committee on the QM region.

    Attributes
    ----------
    ensemble, temperature, pressure, friction, timestep
        What is held constant, at which values, the friction of the Langevin thermostat, and the time step.
    walkers, steps, interval
        Independent runs, steps of production of each, and steps between two kept frames.
    initial_steps, initial_frames, initial_temperature, equilibration_steps
        Steps of force-field production in the first round, frames kept of it, its temperature if it differs, and steps before it.
    trust_factor
        A calibrated campaign stops a run where the bound of the force error exceeds so many times the target of its selection:
        the committee has left what it knows.
    nonbonded_cutoff, ewald_tolerance
        Of the force field: Lennard-Jones terms, switched off over the last angstrom, and particle-mesh Ewald.
    minimize_tolerance
        Root mean square force at which the minimisation before equilibration ends.
    bias
        Bias along one coordinate in production; none in preparation.
    committee_interval
        1: the mean of the committee drives, and its disagreement is watched at every step. n > 1: one member drives, walker k by
        member k, on its own potential energy surface; the whole committee is asked every n steps and about every kept frame, so
        that a run can be n - 1 steps beyond trust.
    precision
        Of the networks in dynamics; labels, training and predictions of forces to compare with labels do not depend on it.
    platform
        Of OpenMM; ``auto`` is the fastest one there is. Runs on one CPU thread repeat bit by bit, on several they do not.
    constraints
        Bonds kept rigid in the MM region (the QM region is always flexible).

    Upper limits are those that no simulation comes near: a number beyond them is a slip of the unit or of the keyboard.
    """

    ensemble: Literal["nvt", "npt", "nve"] = "nvt"
    temperature: Temperature = Field(300.0, gt=0, le=HOTTEST)
    pressure: Pressure = Field(1.0, ge=-1e4, le=1e6)
    friction: Rate = Field(0.001, gt=0, le=10)
    timestep: Time = Field(0.5, gt=0, le=10)
    walkers: int = Field(1, ge=1, le=1000)
    steps: int = Field(2000, ge=1, le=MOST_STEPS)
    interval: int = Field(20, ge=1, le=MOST_STEPS)
    initial_steps: int = Field(5000, ge=1, le=MOST_STEPS)
    initial_frames: int = Field(24, ge=1, le=MOST_FRAMES)
    initial_temperature: Temperature | None = Field(None, gt=0, le=HOTTEST)
    equilibration_steps: int = Field(2000, ge=0, le=MOST_STEPS)
    nonbonded_cutoff: Length = Field(9.0, gt=0, le=1000)
    constraints: Literal["none", "hbonds"] = "hbonds"
    ewald_tolerance: float = Field(5e-4, ge=1e-8, le=0.1)
    trust_factor: float = Field(10.0, gt=1, le=1e9)
    minimize_tolerance: Force = Field(0.05, gt=0, le=1000)
    bias: BiasSettings | None = None
    committee_interval: int = Field(1, ge=1, le=MOST_STEPS)
    precision: Literal["float32", "float64"] = "float32"
    platform: Literal["auto", "CPU", "Reference", "CUDA", "OpenCL"] = "auto"

    @model_validator(mode="after")
    def _fit_in_memory(self) -> SamplingSettings:
        if self.walkers * self.steps > MOST_FRAMES * self.interval:
            raise ValueError(f"at most {MOST_FRAMES} kept frames, walkers times steps by interval,")
        return self
