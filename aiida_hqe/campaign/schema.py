"""`Campaign`: the whole campaign file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.embedding.level import Level
from aiida_hqe.potentials.settings import Device, PotentialSettings
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.selection.calibration import frames_needed
from aiida_hqe.selection.settings import SelectionSettings
from aiida_hqe.settings import Settings
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.units import Duration, Memory

_HOUR = 3600.0


class Stop(Settings):
    """When a campaign ends.

    Attributes
    ----------
    iterations
        The most rounds after the first set of labels.
    uncertain_fraction
        Converged when fewer than this fraction of a fresh sample is uncertain.
    core_hours
        Budget of processor time (s) for the labels that the campaign asks for, each its wall time on every thread; no new
        round begins when it is spent.
    """

    iterations: int = Field(5, ge=1, le=1000)
    uncertain_fraction: float = Field(0.05, gt=0, lt=1)
    core_hours: Duration | None = Field(None, gt=0, le=1e9 * _HOUR)


class Resources(Settings):
    """What the jobs of a campaign may use.

    Attributes
    ----------
    parallel_jobs
        Label and training jobs that run at the same time.
    threads
        Threads of each job.
    device
        Where the networks of each job compute.
    walltime, memory
        Limits of each job, in s and MB.
    """

    parallel_jobs: int = Field(2, ge=1, le=10_000)
    threads: int = Field(1, ge=1, le=1024)
    device: Device = "cpu"
    walltime: Duration = Field(12 * _HOUR, gt=0, le=8760 * _HOUR)
    memory: Memory | None = Field(None, gt=0, le=1e8)


class Campaign(Settings):
    """One active-learning campaign: what is simulated, at which levels, and when it is good enough.

    `protocol` fills in what the file does not say (see `aiida_hqe.campaign.protocols`).
    """

    name: str = Field("campaign", min_length=1, max_length=80)
    protocol: Literal["fast", "balanced", "stringent"] = "balanced"
    seed: int = Field(1, ge=0, lt=2**31)
    system: SystemSettings
    levels: Level = Level()
    potential: PotentialSettings = PotentialSettings()
    training: TrainingSettings = TrainingSettings()
    sampling: SamplingSettings = SamplingSettings()
    selection: SelectionSettings = SelectionSettings()
    stop: Stop = Stop()
    resources: Resources = Resources()

    @property
    def n_calibration(self) -> int:
        """Labels of the first set that are held out for calibration."""
        return round(self.sampling.initial_frames * self.training.held_out)

    @property
    def max_labels(self) -> int:
        """The most labels that the campaign can pay for."""
        return self.sampling.initial_frames + self.stop.iterations * self.selection.batch

    @model_validator(mode="after")
    def _fixed_cores(self) -> Self:
        counts, cores = self.levels.embedding.core_orbitals, self.system.cores
        if cores and (counts is None or len(counts) != len(cores)):
            raise _fault(
                "levels.embedding.core_orbitals",
                f"one number of orbitals for each of the {len(cores)} cores was expected (got {counts or 'nothing'}):"
                " a campaign keeps it fixed, and `aiida-hqe cores` proposes it",
            )
        return self

    @model_validator(mode="after")
    def _one_baseline(self) -> Self:
        stored, learned = self.levels.baseline, self.potential.baseline
        if "none" not in (stored, learned) and stored != learned:
            raise _fault(
                "levels.baseline",
                f"the baseline of the potential, {learned}, was expected (got {stored}): labels would hold another one than is"
                " learned on; make them equal",
            )
        return self

    @model_validator(mode="after")
    def _frames_to_keep(self) -> Self:
        sampling = self.sampling
        if sampling.steps < sampling.interval:
            raise _fault(
                "sampling.steps",
                f"at least one interval, {sampling.interval}, was expected (got {sampling.steps}): otherwise no frame is kept",
            )
        if sampling.initial_steps < sampling.initial_frames:
            raise _fault(
                "sampling.initial_steps",
                f"at least initial_frames, {sampling.initial_frames}, was expected (got {sampling.initial_steps}):"
                " otherwise frames would repeat",
            )
        return self

    @model_validator(mode="after")
    def _enough_to_calibrate(self) -> Self:
        confidence, n = self.selection.confidence, self.n_calibration
        needed = frames_needed(confidence)
        if n < needed:
            raise _fault(
                "sampling.initial_frames",
                f"a first set with at least {needed} held-out labels was expected for bounds of confidence {confidence:g}"
                f" (got {n}, a fraction {self.training.held_out:g} of {self.sampling.initial_frames}): raise it or"
                " training.held_out, or lower selection.confidence",
            )
        return self


def _fault(key: str, message: str) -> PydanticCustomError:
    """A fault between sections, reported at the entry `key`."""
    return PydanticCustomError("located", "{message}", {"key": key, "message": message})
