"""Propose frames by molecular dynamics: by the force field, or by ML/MM dynamics that a committee drives and watches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import openmm

from aiida_hqe.dynamics.driver import Driver, Evaluation
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.errors import ConvergenceError, HQEError
from aiida_hqe.frames import Frame, Frames, Scalar
from aiida_hqe.qmmm.assembly import Assembly

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a sampling run brings.

    Attributes
    ----------
    frames
        One frame per interval and walker; where a run stopped early, also the frame at which it did, if it is a sane one.
    assembly
        End state of the last walker; its last trusted kept state where it stopped early.
    trusted
        False if a walker was stopped because the committee left its trust region.
    steps
        Steps made by all walkers together.
    reason
        Why the first untrusted walker stopped.
    """

    frames: Frames
    assembly: Assembly
    trusted: bool
    steps: int
    reason: str | None = None


def sample(
    assembly: Assembly,
    sampling: SamplingSettings,
    committee: Driver | None,
    *,
    seed: int,
    steps: int,
    interval: int,
    trust_disagreement: float | None = None,
    progress: Progress | None = None,
) -> Sample:
    """Run the walkers one after another and keep a frame every `interval` steps.

    Parameters
    ----------
    assembly
        State to start from; its velocities are kept by the first walker, every other draws its own.
    sampling
        Ensemble, temperature, time step, walkers.
    committee
        Drives the QM region; ``None`` for the force field alone.
    seed, steps, interval
        Seed of all random numbers; steps per walker; steps between kept frames.
    trust_disagreement
        Force disagreement (eV/angstrom) at which a walker stops; ``None`` for never.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    InputError
        The committee does not fit the system, or a cutoff does not fit the box.
    ConvergenceError
        A run of the force field alone exploded.
    """
    walkers = []
    total = steps * sampling.walkers
    for number in range(sampling.walkers):
        walker = _Walker(assembly, sampling, committee, seed, number, trust_disagreement)
        for done in walker.run(steps, interval):
            if progress is not None:
                progress(number * steps + done, total)
        walkers.append(walker)
    reasons = [walker.reason for walker in walkers if walker.reason is not None]
    return Sample(
        frames=Frames(frame for walker in walkers for frame in walker.frames),
        assembly=walkers[-1].state,
        trusted=not reasons,
        steps=sum(walker.done for walker in walkers),
        reason=reasons[0] if reasons else None,
    )


class _Walker:
    """One trajectory: its run, the frames it kept, its last trusted state, and why it stopped early."""

    def __init__(
        self,
        assembly: Assembly,
        sampling: SamplingSettings,
        driver: Driver | None,
        seed: int,
        number: int,
        trust: float | None,
    ) -> None:
        self.frames: list[Frame] = []
        self.state = self._assembly = assembly
        self.done = 0
        self.reason: str | None = None
        self._driver = driver
        self._trust = math.inf if trust is None else trust
        self._origin: dict[str, Scalar] = {"seed": seed, "walker": number}
        self._force = None if driver is None else RegionForce(assembly, driver)
        self._simulation = Simulation(
            assembly,
            sampling,
            seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
            force=self._force,
            fresh_velocities=number > 0,
        )
        if driver is not None:
            driver.evaluate(assembly.frame())  # a committee that does not fit the system is an error, not a stop

    def run(self, steps: int, interval: int) -> Iterator[int]:
        """Integrate to the end or until the committee cannot be trusted; yields the steps done at each interval."""
        while self.done < steps and self.reason is None:
            self._advance(min(interval - self.done % interval, steps - self.done))
            if self.done % interval == 0 or self.reason is not None:
                self._keep()
            if self.reason is None:
                self.state = self._simulation.assembly()
            yield self.done

    def _advance(self, steps: int) -> None:
        """Make `steps` steps, checking each one where a driver is at work."""
        chunk = steps if self._force is None else 1
        for _ in range(steps // chunk):
            try:
                self._simulation.step(chunk)
            except openmm.OpenMMException as error:
                self._exploded(error)
                return
            self.done += chunk
            if self._force is not None and self._force.evaluation is not None:
                self.reason = self._distrust(self._force.evaluation)
            if self.reason is not None:
                return

    def _exploded(self, error: openmm.OpenMMException) -> None:
        cause: Exception = error
        if self._force is not None and self._force.error is not None:
            cause = self._force.error
        if self._force is None:
            raise ConvergenceError(
                f"stable dynamics were expected (got: {cause}): shorten sampling.timestep or equilibrate longer"
            ) from error
        self.reason = f"the run broke after {self.done} steps: {' '.join(str(cause).split())}"

    def _distrust(self, evaluation: Evaluation) -> str | None:
        """Why the committee is not to be trusted any more; ``None`` if it is."""
        if not (math.isfinite(evaluation.energy) and np.all(np.isfinite(evaluation.forces))):
            return f"the committee's energy or forces were not finite after {self.done} steps"
        if not evaluation.disagreement <= self._trust:
            return (
                f"the committee's force disagreement reached {evaluation.disagreement:.3f} eV/angstrom"
                f" (trusted up to {self._trust:.3f}) after {self.done} steps"
            )
        return None

    def _keep(self) -> None:
        """Keep the present frame if it is a sane one; an insane one ends the run."""
        try:
            info: dict[str, Scalar] = {**self._origin, "step": self.done, "temperature": self._simulation.temperature()}
            frame = self._assembly.frame(*self._simulation.positions(), info=info)
            frame.check_geometry()
            frame = self._watched(frame)
        except (HQEError, openmm.OpenMMException) as error:
            if self._force is None:
                raise
            self.reason = self.reason or f"the geometry broke after {self.done} steps: {' '.join(str(error).split())}"
            return
        self.frames.append(frame)

    def _watched(self, frame: Frame) -> Frame:
        """The frame with the disagreement of the committee about it."""
        if self._driver is None:
            return frame
        evaluation = self._driver.evaluate(frame)
        self.reason = self.reason or self._distrust(evaluation)
        members = {f"member_{k}": float(value) for k, value in enumerate(evaluation.member_deviations)}
        spread = {
            "disagreement": float(evaluation.disagreement),
            "energy_disagreement": float(evaluation.energy_disagreement),
        }
        return frame.replace(info={**frame.info, **spread, **members})
