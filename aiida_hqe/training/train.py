"""`train_member`: one member of a committee, its environment network and what it learns of the target level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from aiida_hqe.baseline.baseline import with_baseline
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.device import CPU, find, working
from aiida_hqe.potentials.member import LevelName, Member, Network, fit_references
from aiida_hqe.potentials.model import Potential, build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.training.batches import Block, blocks
from aiida_hqe.training.difference import fit_difference
from aiida_hqe.training.fit import DivergenceError, Fit, Step, fit
from aiida_hqe.training.references import shifted, shifts
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import Targets, baseline, difference, levels_of, targets

Progress = Callable[[int, int], None]

_SMALLEST_SCALE = 1e-3
"""eV; a network's output is never scaled below it, however alike the labels are."""


def train_member(
    frames: Frames,
    potential: PotentialSettings,
    training: TrainingSettings,
    *,
    member: int,
    seed: int,
    initial: Committee | None = None,
    progress: Progress | None = None,
    device: str | torch.device = CPU,
) -> tuple[Committee, list[Step]]:
    """Train one member on every level that the frames are labelled at.

    Parameters
    ----------
    frames
        Labelled frames of one charge and spin, at the same level(s). A baseline that they do not carry is computed.
    potential, training
        Architecture; objective and schedule.
    member, seed
        Number of the member, which chooses its validation fold, and the seed of the committee. Together they seed weights
        and batches.
    initial
        Committee whose member of this number is trained on from.
    progress
        Called with epochs done and epochs in all.
    device
        Where the networks compute: ``cpu``, ``cuda``, or ``cuda:1`` and so on. The committee that comes back is on the processor.

    Returns
    -------
    committee, history
        A committee of one member, and losses and validation errors along the way (errors: root mean squares of energy per
        atom in eV, of QM force components in eV/angstrom, and of MM forces normalised alike).

    Raises
    ------
    InputError
        The frames cannot train a network together (see `levels_of`), or `initial` is for something else.
    DeviceError
        There is no such device, or it fails.
    DivergenceError
        The loss became NaN; the message names the frames, and its `committee` holds the last good state, if there was one.
    """
    device, levels = find(device), levels_of(frames)
    frames = with_baseline(frames, potential.baseline)
    learn = training.learn if len(levels) == 2 else "direct"
    course = _Course(frames, potential, training, learn, member, seed, progress, levels, initial, device)
    try:
        for level in levels:
            with working(device):
                course.train(level)
    except DivergenceError as error:
        error.committee = course.committee(diverged=True) if course.networks else None
        raise
    return course.committee(), course.history


class _Course:
    """The trainings of one member, level after level."""

    def __init__(
        self,
        frames: Frames,
        potential: PotentialSettings,
        training: TrainingSettings,
        learn: str,
        member: int,
        seed: int,
        progress: Progress | None,
        levels: Sequence[LevelName],
        initial: Committee | None,
        device: torch.device,
    ) -> None:
        self.frames, self.potential, self.training, self.learn = frames, potential, training, learn
        self.member, self.seed, self.progress, self.levels, self.device = member, seed, progress, levels, device
        self.initial = _matching(initial, potential, learn, frames, member, levels) if training.warm_start else None
        self.held = validation_fold(frames, member, training.members, training.left_out)
        self.dtype = torch.float64 if training.precision == "float64" else torch.float32
        self.history: list[Step] = []
        self.summary: dict[str, Any] = {}
        self.networks: dict[LevelName, Network] = {}
        self._done = 0

    def committee(self, *, diverged: bool = False) -> Committee:
        """A committee of this member as far as it is trained; `diverged` tells that it ends in its last good state."""
        frames = self.frames
        summary = {"frames": len(frames), "validation_frames": len(self.held), "levels": self.summary}
        if "force_method" in frames[0].info:
            summary["force_method"] = frames[0].info["force_method"]
        if diverged:
            summary["diverged"] = True
        return Committee(
            [Member(self.member, self.seed, self.networks, summary)],
            settings=self.potential,
            learn=self.learn,
            elements={int(number) for frame in frames for number in frame.numbers},
            charge=frames[0].charge,
            spin=frames[0].spin,
            ranges=_ranges(frames),
        )

    def train(self, level: LevelName) -> None:
        """Train the network of `level`, after that of the environment; a training that diverges leaves its last good state."""
        environment = self.networks.get("environment")
        if level == "target" and self.learn == "difference" and environment is not None:
            self.networks[level] = self._difference(environment)
            return
        wanted = [self._wanted(frame, level) for frame in self.frames]
        start, network = self._start(level, wanted, environment)
        references = np.array([start.reference(frame.numbers) for frame in self.frames])
        folds = self._folds(wanted, references)
        try:
            result = self._fit(level, network, folds)
        except DivergenceError as error:
            if np.isfinite(error.best.validation):
                self._keep(level, error.best, start, folds, wanted[0])
            raise
        self._keep(level, result, start, folds, wanted[0])

    def _keep(self, level: LevelName, result: Fit, start: Network, folds: list[list[Block]], first: Targets) -> None:
        """Keep what was trained, its references of energy moved by what it leaves of the energies on average."""
        self.history += [{"member": self.member, "level": level} | step for step in result.history]
        self.summary[level] = {"validation": result.validation, "epochs": self._epochs(level)}
        state = {name: tensor.detach().clone() for name, tensor in result.network.state_dict().items()}
        left = shifts(result.network, [block for fold in folds for block in fold])
        self.networks[level] = Network(state, shifted(start.references, left), first.forces is not None)

    def _wanted(self, frame: Frame, level: LevelName) -> Targets:
        """What the network is to give: the label, less the baseline if there is one."""
        label = targets(frame, level)
        return label if self.potential.baseline == "none" else label - baseline(frame)

    def _difference(self, environment: Network) -> Network:
        potential = build(self.potential, self.frames[0].charge, seed=0)
        potential.load_state_dict(dict(environment.state))
        wanted = [difference(frame) for frame in self.frames]
        found = fit_difference(
            potential.to(self.device), self.frames, wanted, self.held, self.training.of_level("target")
        )
        step: Step = {"loss": found.loss, "validation": found.validation, "ridge": found.strength}
        origin: Step = {"member": self.member, "level": "target"}
        self.history.append(origin | step)
        self.summary["target"] = {"validation": found.validation, "ridge": found.strength}
        return found.network

    def _folds(self, wanted: list[Targets], references: Floats) -> list[list[Block]]:
        """Frames to train on, and those of the validation fold."""
        chosen = [[i for i in range(len(wanted)) if (i in self.held) == held] for held in (False, True)]
        return [
            blocks(
                [self.frames[i] for i in part],
                [wanted[i] for i in part],
                references[part],
                self.dtype,
                self.potential,
            )
            for part in chosen
        ]

    def _fit(self, level: LevelName, network: Potential, folds: list[list[Block]]) -> Fit:
        training, validation = folds
        trained = self.levels if self.learn != "difference" else self.levels[:1]
        total, done = sum(self._epochs(name) for name in trained), self._done
        self._done += self._epochs(level)
        progress = self.progress
        report = None if progress is None else lambda epoch, _: progress(done + epoch, total)
        seed = _seed(self.seed, self.member, level, "batches")
        settings = self.training.of_level(level)
        return fit(network, training, validation, settings, epochs=self._epochs(level), seed=seed, progress=report)

    def _epochs(self, level: LevelName) -> int:
        if self.initial is not None:
            return self.training.warm_epochs
        return self.training.target_epochs if level == "target" and len(self.levels) == 2 else self.training.epochs

    def _start(self, level: LevelName, wanted: list[Targets], environment: Network | None) -> tuple[Network, Potential]:
        network = build(self.potential, self.frames[0].charge, _seed(self.seed, self.member, level, "weights"))
        numbers = [frame.numbers for frame in self.frames]
        energies = np.array([want.energy for want in wanted])
        if self.initial is not None:
            start = self.initial.networks[level]
            network.load_state_dict(network.state_dict() | dict(start.state))
        elif level == "target" and self.learn == "transfer" and environment is not None:
            base = np.array([environment.reference(atoms) for atoms in numbers])
            references = shifted(environment.references, fit_references(numbers, energies - base))
            start = Network(environment.state, references, environment.has_forces)
            network.load_state_dict(dict(start.state))
        else:
            start = Network({}, fit_references(numbers, energies), False)
            residuals = energies - np.array([start.reference(atoms) for atoms in numbers])
            network.scale.fill_(_scale(residuals, wanted))
        return start, network.to(self.device, self.dtype)


def validation_fold(frames: Frames, member: int, members: int, left_out: float = 0.1) -> set[int]:
    """Indices of the frames that member `member` never trains on: about the fraction `left_out`, others for each member.

    The frames are cut into folds, at least as many as there are members, and each member leaves out its own and those next
    to it, so that every frame is left out equally often. Folds follow from content hashes, so a frame stays in its fold's
    neighbourhood whatever the order of the frames.
    """
    folds = min(max(members, round(1.0 / left_out)), len(frames))
    width = min(max(1, round(left_out * folds)), folds - 1)
    order = sorted(range(len(frames)), key=lambda index: frames[index].hash)
    return {index for rank, index in enumerate(order) if (rank - member) % folds < width}


def _scale(residuals: Floats, wanted: list[Targets]) -> float:
    """Spread of energies, or of force components times an angstrom where forces are known."""
    forces = [want.forces for want in wanted if want.forces is not None]
    spread = np.sqrt(np.mean(np.concatenate(forces) ** 2)) if forces else np.std(residuals)
    return max(float(spread), _SMALLEST_SCALE)


def _matching(
    initial: Committee | None,
    potential: PotentialSettings,
    learn: str,
    frames: Frames,
    member: int,
    levels: Sequence[LevelName],
) -> Member | None:
    if initial is None:
        return None
    for frame in frames:
        initial.check(frame)
    if not initial.settings.fits(potential) or initial.learn != learn or not initial.levels.issuperset(levels):
        raise InputError(
            f"a committee of the same architecture and levels was expected to train on from (got {initial.settings!r},"
            f" {initial.learn}, {sorted(initial.levels)}): train from scratch, or with its settings"
        )
    found = [one for one in initial.members if one.number == member]
    if not found:
        raise InputError(
            f"member {member} was expected in the committee to train on from (it has {[m.number for m in initial.members]}):"
            " train this member from scratch"
        )
    return found[0]


def _ranges(frames: Frames) -> dict[str, float]:
    surroundings = [Surroundings.of(frame) for frame in frames]
    return {
        "frames": float(len(frames)),
        "largest_potential": max(float(np.abs(one.potential).max()) for one in surroundings),
        "largest_field": max(float(np.linalg.norm(one.field, axis=1).max()) for one in surroundings),
    }


def _seed(seed: int, member: int, level: LevelName, purpose: str) -> int:
    code = {"environment": 0, "target": 1}[level] * 2 + {"weights": 0, "batches": 1}[purpose]
    return int(np.random.SeedSequence([seed, member, code]).generate_state(1)[0])
