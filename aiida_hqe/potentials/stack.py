"""`Stack`: the networks of a committee side by side, evaluated with their derivatives in one replayed graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.graph import Function, record
from aiida_hqe.potentials.member import LevelName, Member, Network
from aiida_hqe.potentials.model import WithDifference, build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.surroundings import Surroundings


@dataclasses.dataclass(frozen=True, eq=False)
class Derivatives:
    """Energies (K,) in eV and their derivatives by positions (K, n, 3), potential (K, n) and field (K, n, 3)."""

    energies: Floats
    by_positions: Floats
    by_potential: Floats
    by_field: Floats

    def mean(self) -> Derivatives:
        """Mean over the members, without the leading axis."""
        return Derivatives(*(array.mean(axis=0) for array in self._arrays()))

    def deviation(self) -> Derivatives:
        """Deviation of each member from the mean."""
        return Derivatives(*(array - array.mean(axis=0) for array in self._arrays()))

    def forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the QM atoms, (..., n_qm, 3)."""
        return surroundings.qm_forces(self.by_positions, self.by_potential, self.by_field)

    def mm_forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the point charges, (..., n_mm, 3)."""
        return surroundings.mm_forces(self.by_potential, self.by_field)

    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.energies, self.by_positions, self.by_potential, self.by_field


class Stack:
    """K members of one architecture at all their levels, in double precision; one graph per sequence of elements.

    Parameters
    ----------
    members
        The members.
    levels
        Levels to evaluate, environment first.
    settings, charge, learn
        Architecture, total charge, and how the target is built on the environment.
    """

    def __init__(
        self,
        members: Sequence[Member],
        levels: Sequence[LevelName],
        settings: PotentialSettings,
        charge: int,
        learn: str,
    ) -> None:
        self.members = list(members)
        self.levels = list(levels)
        self.settings = settings
        self.charge = charge
        self.on_top = learn == "difference" and len(levels) == 2
        self._graphs: dict[tuple[int, ...], tuple[Function, Floats]] = {}

    def derivatives(self, frame: Frame, surroundings: Surroundings) -> dict[LevelName, Derivatives]:
        """Energies and derivatives of all members for one frame, level by level."""
        graph, references = self._graph(tuple(frame.numbers.tolist()))
        centred = frame.positions - frame.positions.mean(axis=0)
        inputs = (torch.from_numpy(array) for array in (centred, surroundings.potential, surroundings.field))
        with torch.no_grad():
            energies, *gradients = (tensor.numpy() for tensor in graph(*inputs))
        return {
            level: Derivatives(energies[:, index] + references[:, index], *(array[:, index] for array in gradients))
            for index, level in enumerate(self.levels)
        }

    def _graph(self, numbers: tuple[int, ...]) -> tuple[Function, Floats]:
        if numbers not in self._graphs:
            n = len(numbers)
            example = torch.arange(3.0 * n, dtype=torch.float64).reshape(n, 3).sin() + torch.arange(n)[:, None]
            zeros = torch.zeros((n, 3), dtype=torch.float64)
            graph = record(self._function(numbers), [example, zeros[:, 0].contiguous(), zeros], frozen=True)
            references = [
                [member.networks[level].reference(np.array(numbers)) for level in self.levels]
                for member in self.members
            ]
            if self.on_top:
                references = [[low, low + high] for low, high in references]
            self._graphs[numbers] = (graph, np.array(references))
        return self._graphs[numbers]

    def _function(self, numbers: tuple[int, ...]) -> Function:
        potential, atoms = build(self.settings, self.charge, seed=0), torch.tensor(numbers)
        if self.on_top:
            parts = [
                _derivatives(WithDifference(potential), [_joined(member.networks) for member in self.members], atoms)
            ]
        else:
            states = ([member.networks[level].state for member in self.members] for level in self.levels)
            parts = [_derivatives(potential, level, atoms) for level in states]

        def function(*inputs: Tensor) -> tuple[Tensor, ...]:
            results = [part(*inputs) for part in parts]
            return tuple(torch.cat(tensors, dim=1) for tensors in zip(*results, strict=True))

        return function


def _joined(networks: Mapping[LevelName, Network]) -> dict[str, Tensor]:
    low = {f"potential.{name}": tensor for name, tensor in networks["environment"].state.items()}
    return low | {"weight": networks["target"].state["weight"]}


def _derivatives(
    network: nn.Module, states: Sequence[Mapping[str, Tensor]], atoms: Tensor
) -> Callable[..., tuple[Tensor, ...]]:
    """Function of positions, potential, field: energies (K, L) of a network with L outputs, and their three derivatives."""
    network = network.double().eval()
    stacked = {name: torch.stack([state[name].double() for state in states]) for name in states[0]}

    def energies(
        positions: Tensor, potential: Tensor, field: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        values = functional_call(network, state, (atoms, positions[None], potential[None], field[None])).reshape(-1)
        return values, values

    members = vmap(jacrev(energies, argnums=(0, 1, 2), has_aux=True), in_dims=(None, None, None, 0))

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        gradients, values = members(*inputs, stacked)
        return values, *gradients

    return function
