"""`Committee`: members trained on the same data with other seeds and folds; energies, forces and their spread."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aiida_hqe.baseline.baseline import Baseline, evaluate
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials import storage
from aiida_hqe.potentials.device import CPU, find
from aiida_hqe.potentials.member import LEVELS, LevelName, Member
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import Precision, Stack
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.predictions import Prediction

FAR = 3.0
"""How many times as strong as in training the surroundings may be; beyond that a prediction is no extrapolation any more."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What dynamics needs of one frame: the mean of the members at the target level, and their disagreement.

    Attributes
    ----------
    energy
        Mean energy (eV).
    forces, mm_forces
        Mean forces (n_qm, 3) and (n_mm, 3), eV/angstrom.
    charge_gradient
        Derivative of the mean energy with respect to each point charge (n_mm,), eV/e.
    disagreement
        Spread of the members' force vectors at `Committee.force_level` (eV/angstrom); 0 for a single member.
    energy_disagreement
        Standard deviation of the members' energies (eV); 0 for a single member.
    member_deviations
        Each member's force deviation from the mean in the same norm, (K,).
    atom_disagreement
        Spread of the members' forces on each QM atom (n_qm,), eV/angstrom.
    """

    energy: float
    forces: Floats
    mm_forces: Floats
    charge_gradient: Floats
    disagreement: float
    energy_disagreement: float
    member_deviations: Floats
    atom_disagreement: Floats


class Committee:
    """Members of one architecture for one kind of QM region.

    Parameters
    ----------
    members
        Sorted by number.
    settings
        Architecture of every network.
    learn
        How target networks combine with environment networks: ``difference``, ``transfer`` or ``direct``.
    elements, charge, spin
        QM regions the committee is for.
    ranges
        What the training data spanned.
    calibration
        Settings of a calibration that travels with an exported committee, if any.
    precision
        Of the networks in `evaluate`, that is in dynamics: single precision takes half the time, and its forces are within
        about 1e-5 eV/angstrom of the others. `predict` is always in double precision. Not part of the committee's file.
    device
        Where the networks compute: ``cpu``, ``cuda``, or ``cuda:1`` and so on. Not part of the committee's file either.

    Raises
    ------
    InputError
        No member, or a member number twice.
    DeviceError
        There is no such device.
    """

    def __init__(
        self,
        members: Iterable[Member],
        *,
        settings: PotentialSettings,
        learn: str,
        elements: Iterable[int],
        charge: int,
        spin: int,
        ranges: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
        precision: Precision = "float64",
        device: str | torch.device = CPU,
    ) -> None:
        self.members: tuple[Member, ...] = tuple(sorted(members, key=lambda member: member.number))
        numbers = [member.number for member in self.members]
        if not numbers or len(set(numbers)) != len(numbers):
            raise InputError(
                f"a committee needs members with different numbers (got {numbers}): train each number once"
            )
        self.settings = settings
        self.learn = learn
        self.elements = sorted(set(elements))
        self.charge = charge
        self.spin = spin
        self.ranges = dict(ranges or {})
        self.calibration = None if calibration is None else dict(calibration)
        self.precision: Precision = precision
        self.device = find(device)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: everything but the recorded graphs, which are made anew."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_stack", "_driver")}

    @property
    def n_members(self) -> int:
        """Number K of members."""
        return len(self.members)

    @property
    def levels(self) -> set[LevelName]:
        """Levels that every member learned."""
        return set.intersection(*(set(member.networks) for member in self.members))

    @property
    def force_level(self) -> LevelName:
        """Level of the forces that disagreement is measured on: target where target forces were learned."""
        learned = "target" in self.levels and all(member.networks["target"].has_forces for member in self.members)
        return "target" if learned or "environment" not in self.levels else "environment"

    @classmethod
    def merge(cls, committees: Iterable[Committee]) -> Committee:
        """One committee of the members of several.

        Raises
        ------
        InputError
            They differ in architecture, levels, elements, charge or spin, or share a member number.
        """
        parts = list(committees)
        if not parts:
            raise InputError("at least one committee to merge was expected (got none)")
        for part in parts[1:]:
            for name in ("settings", "learn", "levels", "elements", "charge", "spin"):
                one, other = getattr(parts[0], name), getattr(part, name)
                if one != other:
                    raise InputError(
                        f"committees to merge must agree in {name} (got {one} and {other}): train them alike"
                    )
        members = [member for part in parts for member in part.members]
        return parts[0].replace(members=members)

    def replace(self, **changes: Any) -> Committee:
        """A copy with `changes` of the constructor's arguments."""
        names = ("members", "settings", "learn", "elements", "charge", "spin", "ranges", "calibration")
        same = {name: getattr(self, name) for name in (*names, "precision", "device")}
        return Committee(**same | changes)

    def alone(self, number: int) -> Committee:
        """One member by itself, counted from 0 and on from the start: a surface of its own that dynamics can follow cheaply."""
        return self.replace(members=[self.members[number % self.n_members]])

    def save(self, path: str | Path) -> None:
        """Write one safetensors file; equal committees are equal bytes."""
        storage.write(Path(path), self)

    @classmethod
    def load(cls, path: str | Path) -> Committee:
        """Read a file of `save`.

        Raises
        ------
        InputError
            There is no such file.
        IntegrityError
            It is no committee, is truncated, or its checksum does not fit.
        """
        return cls(**storage.read(Path(path)))

    def predict(self, frame: Frame) -> Prediction:
        """Energies and forces of every member at both levels.

        Raises
        ------
        InputError
            The frame's elements, charge or spin are not those the committee was trained for, or its point charges make a
            potential or field at a QM atom more than `FAR` times as large as any in training.
        """
        self.check(frame)
        surroundings = self._stack.surroundings(frame)
        self._check_charges(frame, surroundings)
        by_level = self._stack.derivatives(frame, surroundings)
        first, last = by_level.get("environment", by_level.get("target")), by_level.get("target")
        assert first is not None
        last, base = last or first, self._baseline(frame)
        return Prediction(
            frame=frame.hash,
            environment_energies=first.energies + base.energy,
            environment_forces=first.forces(surroundings) + base.forces,
            environment_mm_forces=first.mm_forces(surroundings) + base.mm_forces,
            energies=last.energies + base.energy,
            forces=last.forces(surroundings) + base.forces,
            mm_forces=last.mm_forces(surroundings) + base.mm_forces,
        )

    def predict_batch(self, frames: Iterable[Frame]) -> list[Prediction]:
        """`predict` of each frame, in order."""
        return [self.predict(frame) for frame in frames]

    def evaluate(self, frame: Frame) -> Evaluation:
        """Mean forces, dE/dq and disagreement, for dynamics; raises as `predict` does."""
        self.check(frame)
        surroundings = self._driver.surroundings(frame)
        self._check_charges(frame, surroundings)
        by_level = self._driver.derivatives(frame, surroundings)
        spread = by_level[self.force_level]
        driving = by_level.get("target", spread)
        mean, base = driving.mean(), self._baseline(frame)
        members = spread.forces(surroundings), spread.mm_forces(surroundings)
        on_qm, on_mm = (forces.mean(axis=0) for forces in members)
        if driving is not spread:
            on_qm, on_mm = mean.forces(surroundings), mean.mm_forces(surroundings)
        k = max(self.n_members - 1, 1)
        deviations, squares = _deviations(*members)
        return Evaluation(
            energy=float(driving.energies.mean()) + base.energy,
            forces=on_qm + base.forces,
            mm_forces=on_mm + base.mm_forces,
            charge_gradient=mean.charge_gradient(surroundings) + base.charge_gradient,
            disagreement=float(np.sqrt((deviations**2).sum() / k)),
            energy_disagreement=float(np.sqrt(((driving.energies - driving.energies.mean()) ** 2).sum() / k)),
            member_deviations=deviations,
            atom_disagreement=np.sqrt(squares / k),
        )

    @functools.cached_property
    def _stack(self) -> Stack:
        """All levels, in double precision."""
        return Stack(self.members, self._known(LEVELS), self.settings, self.charge, self.learn, device=self.device)

    @functools.cached_property
    def _driver(self) -> Stack:
        """The level that drives dynamics and the one that disagreement is measured on, often the same."""
        levels = self._known({self.force_level, "target"})
        if self.precision == "float64" and levels == self._known(LEVELS):
            return self._stack
        return Stack(self.members, levels, self.settings, self.charge, self.learn, self.precision, self.device)

    def _known(self, levels: Iterable[LevelName]) -> list[LevelName]:
        return [level for level in LEVELS if level in levels and level in self.levels]

    def _baseline(self, frame: Frame) -> Baseline:
        """What the networks' energies are added to; nothing without a baseline."""
        if self.settings.baseline == "none":
            return Baseline.nothing(frame)
        return evaluate(frame, self.settings.baseline)

    def check(self, frame: Frame) -> None:
        """Raise `InputError` unless the committee is for this kind of QM region."""
        unknown = set(frame.numbers.tolist()) - set(self.elements)
        if unknown:
            raise InputError(
                f"a committee for elements {self.elements} was expected to know all QM atoms (frame {frame.hash[:12]}"
                f" has {sorted(unknown)}): train one on frames with these elements"
            )
        if (frame.charge, frame.spin) != (self.charge, self.spin):
            raise InputError(
                f"a QM region of charge {self.charge} and spin {self.spin} was expected by the committee (frame"
                f" {frame.hash[:12]} has {frame.charge} and {frame.spin}): train one for it"
            )

    def _check_charges(self, frame: Frame, surroundings: Surroundings) -> None:
        """Raise `InputError` where the charges are far from all that the networks have seen."""
        if self.settings.environment == "blind":
            return
        found = {
            "largest_potential": (np.abs(surroundings.potential).max(), "a potential", "eV/e"),
            "largest_field": (np.linalg.norm(surroundings.field, axis=1).max(), "a field", "eV/(e angstrom)"),
        }
        for name, (value, what, unit) in found.items():
            limit = FAR * self.ranges.get(name, np.inf)
            if limit < value:
                raise InputError(
                    f"{what} of the point charges of at most {limit:.3g} {unit} at a QM atom was expected, {FAR:g} times the"
                    f" largest in training (frame {frame.hash[:12]} has {value:.3g}): check its charges, or train on such frames"
                )


def _deviations(forces: Floats, mm_forces: Floats) -> tuple[Floats, Floats]:
    """Deviation of each member (K,), and the squared deviations on each QM atom, summed over the members (n_qm,).

    Of one member alone they vanish.
    """
    on_atoms = ((forces - forces.mean(axis=0)) ** 2).sum(axis=2)
    on_charges = ((mm_forces - mm_forces.mean(axis=0)) ** 2).sum(axis=(1, 2))
    return np.sqrt((on_atoms.sum(axis=1) + on_charges) / forces.shape[1]), on_atoms.sum(axis=0)
