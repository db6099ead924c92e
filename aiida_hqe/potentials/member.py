"""`Network` and `Member`: trained weights with the energies they are relative to, before they become a committee."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from aiida_hqe.frames import Floats, Ints

LevelName = Literal["environment", "target"]
LEVELS: tuple[LevelName, ...] = ("environment", "target")


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Weights of one level, and the energy per element (eV) that its output is relative to.

    Attributes
    ----------
    state
        State dict of a `Potential`; of a difference, its ``weight`` alone.
    references
        Atomic number -> eV; sums in double precision what a network in single precision could not resolve.
    has_forces
        Whether forces were among the labels it learned from.
    """

    state: Mapping[str, Tensor]
    references: Mapping[int, float]
    has_forces: bool

    def reference(self, numbers: Ints) -> float:
        """Energy (eV) to add to the network's output for these atoms."""
        return float(sum(self.references[int(number)] for number in numbers))

    def to(self, device: torch.device) -> Network:
        """The same with its weights on `device`."""
        return dataclasses.replace(self, state={name: tensor.to(device) for name, tensor in self.state.items()})


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One member of a committee: a network per level that it learned.

    With ``learn: difference`` the target's weights add to the environment's network; otherwise they are one of their own.

    Attributes
    ----------
    number, seed
        Number in the committee, and the seed it was initialised and trained with.
    networks
        Level -> network.
    summary
        Scalars of the training that made it: frames, epochs, validation error.
    """

    number: int
    seed: int
    networks: Mapping[LevelName, Network]
    summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to(self, device: torch.device) -> Member:
        """The same with all its weights on `device`."""
        return dataclasses.replace(self, networks={level: one.to(device) for level, one in self.networks.items()})


def fit_references(numbers: list[Ints], energies: Floats) -> dict[int, float]:
    """Energy per element (eV), least squares of smallest norm, of molecules with these atoms and energies."""
    elements = sorted({int(number) for atoms in numbers for number in atoms})
    counts = np.array([[np.count_nonzero(atoms == element) for element in elements] for atoms in numbers], dtype=float)
    solution = np.linalg.lstsq(counts, energies, rcond=None)[0]
    return {element: float(value) for element, value in zip(elements, solution, strict=True)}
