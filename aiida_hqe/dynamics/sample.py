"""Propose frames by molecular dynamics: by the force field, or by ML/MM dynamics that a committee drives and watches."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from aiida_hqe.dynamics.checkpoint import Checkpoint, key_of
from aiida_hqe.dynamics.driver import Driver, Evaluation
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.errors import ConvergenceError, DeviceError, HQEError, IntegrityError
from aiida_hqe.frames import Floats, Frame, Frames, Scalar
from aiida_hqe.qmmm.assembly import Assembly

Progress = Callable[[int, int], None]

WRITE_EVERY = 30.0
"""Seconds of wall time between two checkpoints on disk; what a killed run has lost at most."""


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
    checkpoint: Path | None = None,
) -> Sample:
    """Run the walkers one after another and keep a frame every `interval` steps.

    At the end of every interval a run starts afresh from its own checkpoint, so that one that was killed and goes on from the
    file makes the same frames, bit by bit, as one that was not.

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
    checkpoint
        File to go on from if it is there, and to write now and then; removed in the end.

    Raises
    ------
    InputError
        The committee does not fit the system, a cutoff does not fit the box, or the checkpoint belongs to another run.
    IntegrityError
        The checkpoint is damaged, or of another platform or version of OpenMM.
    ConvergenceError
        A run of the force field alone exploded.
    DeviceError
        The GPU on which the committee computes failed.
    """
    asked = [seed, steps, interval, trust_disagreement, committee is None]
    log = _Log.open(checkpoint, _key(assembly, sampling, asked))
    total = steps * sampling.walkers
    walker = None
    for number in range(len(log.finished), sampling.walkers):
        walker = _Walker(assembly, sampling, committee, seed, number, trust_disagreement)
        log.resume(walker)
        for done in walker.run(steps, interval):
            log.note(walker)
            if progress is not None:
                progress(number * steps + done, total)
        log.finish(walker)
    assert walker is not None
    log.close()
    return log.sample(walker.state)


def _key(assembly: Assembly, sampling: SamplingSettings, asked: Sequence[Any]) -> str:
    """Hash of all that the run is asked to do, and of the whole assembly: also of its division into regions and cores."""
    entries = {field.name: getattr(assembly, field.name) for field in dataclasses.fields(assembly)}
    arrays = {name: value for name, value in entries.items() if isinstance(value, np.ndarray)}
    said = {name: value for name, value in entries.items() if name not in arrays}
    return key_of(arrays, {"asked": asked, "sampling": sampling.model_dump(mode="json"), "assembly": said})


class _Log:
    """Frames and ends of walkers, and the file from which a killed run goes on.

    Nothing is written when the last walker has come to an end but for what belongs to the result.
    """

    def __init__(self, path: Path | None, key: str, found: Checkpoint | None) -> None:
        self.finished: list[tuple[int, str | None]] = [] if found is None else list(found.finished)
        self.frames: list[Frame] = [] if found is None else list(found.frames)
        self._path, self._key, self._found = path, key, found
        self._written = time.monotonic()

    @classmethod
    def open(cls, path: Path | None, key: str) -> _Log:
        return cls(path, key, None if path is None else Checkpoint.read(path, key))

    def resume(self, walker: _Walker) -> None:
        """Put the first walker after a restart where it was."""
        if self._found is not None:
            own = self.frames[len(self.frames) - self._found.own_frames :]
            self.frames = self.frames[: len(self.frames) - len(own)]
            walker.restore(self._found, own)
            self._found = None

    def note(self, walker: _Walker) -> None:
        """Write a checkpoint if the last one is old."""
        if self._path is None or walker.reason is not None or time.monotonic() - self._written < WRITE_EVERY:
            return
        frames = Frames([*self.frames, *walker.frames])
        Checkpoint(
            self._key, self.finished, walker.done, walker.last, walker.heights, frames, len(walker.frames)
        ).write(self._path)
        self._written = time.monotonic()

    def finish(self, walker: _Walker) -> None:
        self.finished.append((walker.done, walker.reason))
        self.frames += walker.frames

    def sample(self, end: Assembly) -> Sample:
        reasons = [reason for _, reason in self.finished if reason is not None]
        return Sample(
            frames=Frames(self.frames),
            assembly=end,
            trusted=not reasons,
            steps=sum(done for done, _ in self.finished),
            reason=reasons[0] if reasons else None,
        )

    def close(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


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
        self._every = sampling.committee_interval
        driving = driver if driver is None or self._every == 1 else driver.alone(number)
        self._force = None if driving is None else RegionForce(assembly, driving)
        self._simulation = Simulation(
            assembly,
            sampling,
            seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
            force=self._force,
            fresh_velocities=number > 0,
        )
        self.last = self._simulation.checkpoint()
        if driver is not None:
            driver.evaluate(assembly.frame())  # a committee that does not fit the system is an error, not a stop

    @property
    def heights(self) -> Floats:
        """Bias potential on its grid, eV; empty without one."""
        bias = self._simulation.bias
        return np.zeros(0) if bias is None else bias.heights

    def restore(self, found: Checkpoint, frames: list[Frame]) -> None:
        """Go on from a checkpoint, with the frames that this walker had kept."""
        try:
            self._simulation.restore(found.state, found.done, found.heights)
        except openmm.OpenMMException as error:
            raise IntegrityError(
                f"a checkpoint of this machine's OpenMM was expected (got one that it refuses: {' '.join(str(error).split())}):"
                " remove it, and the run starts anew"
            ) from error
        self.done, self.frames, self.last = found.done, list(frames), found.state
        self.state = self._simulation.assembly()

    def run(self, steps: int, interval: int) -> Iterator[int]:
        """Integrate to the end or until the committee cannot be trusted; yields the steps done at each interval."""
        while self.done < steps and self.reason is None:
            self._advance(min(interval - self.done % interval, steps - self.done))
            if self.done % interval == 0 or self.reason is not None:
                self._keep()
            if self.reason is None:
                self.state = self._simulation.assembly()
                self.last = self._simulation.checkpoint()
            yield self.done

    def _advance(self, steps: int) -> None:
        """Make `steps` steps, asking the driver about every one that its interval divides."""
        goal = self.done + steps
        while self.done < goal and self.reason is None:
            chunk = steps if self._force is None else min(self._every - self.done % self._every, goal - self.done)
            try:
                self._simulation.step(chunk)
            except openmm.OpenMMException as error:
                self._exploded(error)
                return
            self.done += chunk
            self.reason = self._watch()

    def _watch(self) -> str | None:
        """Why the present state is not to be trusted; ``None`` if it is, or if this is no step to ask at."""
        if self._force is None or self._force.evaluation is None:
            return None
        if self._every == 1 or self.done % self._every:
            return self._distrust(self._force.evaluation)
        try:
            assert self._driver is not None
            return self._distrust(self._driver.evaluate(self._assembly.frame(*self._simulation.positions())))
        except DeviceError:
            raise
        except HQEError as error:
            return f"the geometry broke after {self.done} steps: {' '.join(str(error).split())}"

    def _exploded(self, error: openmm.OpenMMException) -> None:
        cause: Exception = error
        if self._force is not None and self._force.error is not None:
            cause = self._force.error
        if self._force is None:
            raise ConvergenceError(
                f"stable dynamics were expected (got: {cause}): shorten sampling.timestep or equilibrate longer"
            ) from error
        if isinstance(cause, DeviceError):
            raise cause from error
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
            if self._simulation.bias is not None:
                info["coordinate"] = self._simulation.bias.coordinate(self._simulation.context)
            frame = self._assembly.frame(*self._simulation.positions(), info=info)
            frame.check_geometry()
            frame = self._watched(frame)
        except (HQEError, openmm.OpenMMException) as error:
            if self._force is None or isinstance(error, DeviceError):
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
