"""`Stack`: the networks of a committee side by side, evaluated with their derivatives in one replayed graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.dense import DensePaiNN, is_dense
from aiida_hqe.potentials.device import CPU, working
from aiida_hqe.potentials.graph import Function, record
from aiida_hqe.potentials.member import LevelName, Member, Network
from aiida_hqe.potentials.model import WithDifference, build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.surroundings import Surroundings

Precision = Literal["float32", "float64"]

_VARIABLES = 5
"""A network is differentiated by so many inputs at most: by all but the elements of MM atoms."""


@dataclasses.dataclass(frozen=True, eq=False)
class Derivatives:
    """Energies (K,) in eV and their derivatives by what the network sees, in the order of `Surroundings.inputs`.

    These are positions (K, n, 3), potential (K, n), field (K, n, 3), with ``short_range`` what is close by (K, n, 6), and with
    ``mm-elements`` positions (K, M, 3) and charges (K, M) of what is nearby.
    """

    energies: Floats
    gradients: tuple[Floats, ...]

    def mean(self) -> Derivatives:
        """Mean over the members, without the leading axis."""
        return Derivatives(self.energies.mean(axis=0), tuple(array.mean(axis=0) for array in self.gradients))

    def forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the QM atoms, (..., n_qm, 3)."""
        return surroundings.qm_forces(*self.gradients)

    def mm_forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the point charges, (..., n_mm, 3)."""
        return surroundings.mm_forces(*self.gradients[1:])

    def charge_gradient(self, surroundings: Surroundings) -> Floats:
        """Derivative by each point charge, (..., n_mm), eV/e."""
        return surroundings.charge_gradient(*self.gradients[1:])


class Stack:
    """K members of one architecture at some of their levels; one graph per sequence of elements.

    Parameters
    ----------
    members
        The members.
    levels
        Levels to evaluate, environment first.
    settings, charge, learn
        Architecture, total charge, and how the target is built on the environment.
    precision
        Of the networks; energies of reference and all that concerns the charges are in double precision anyway.
    device
        Where the networks compute. What concerns the charges stays on the processor: only what a network sees goes over, and
        its derivatives come back.
    """

    def __init__(
        self,
        members: Sequence[Member],
        levels: Sequence[LevelName],
        settings: PotentialSettings,
        charge: int,
        learn: str,
        precision: Precision = "float64",
        device: torch.device = CPU,
    ) -> None:
        self.members = [member.to(device) for member in members]
        self.levels = list(levels)
        self.settings = settings
        self.charge = charge
        self.on_top = learn == "difference" and "target" in levels and "environment" in self.members[0].networks
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.device = device
        self._graphs: dict[tuple[tuple[int, ...], ...], tuple[Function, Floats]] = {}

    def surroundings(self, frame: Frame) -> Surroundings:
        """What the networks see of a frame's charges."""
        return look(frame, self.settings)

    def derivatives(self, frame: Frame, surroundings: Surroundings) -> dict[LevelName, Derivatives]:
        """Energies and derivatives of all members for one frame, level by level."""
        arrays: list[NDArray[Any]] = [*surroundings.inputs(frame)]
        if surroundings.nearby is not None:
            arrays.append(surroundings.nearby.numbers)
        with working(self.device):
            inputs = [torch.from_numpy(array).to(self.device) for array in arrays]
            graph, references = self._graph(tuple(frame.numbers.tolist()), inputs)
            with torch.no_grad():
                energies, *gradients = (tensor.cpu().numpy() for tensor in graph(*inputs))
        return {
            level: Derivatives(energies[:, index] + references[:, index], tuple(array[:, index] for array in gradients))
            for index, level in enumerate(self.levels)
        }

    def _graph(self, numbers: tuple[int, ...], inputs: list[Tensor]) -> tuple[Function, Floats]:
        key = (numbers, *(tuple(tensor.shape) for tensor in inputs[3:]))
        if key not in self._graphs:
            function = self._dense(numbers) if is_dense(self.settings) else self._function(numbers)
            references = [[self._reference(member, level, numbers) for level in self.levels] for member in self.members]
            self._graphs[key] = (record(function, _example(inputs), frozen=True), np.array(references))
        return self._graphs[key]

    def _reference(self, member: Member, level: LevelName, numbers: tuple[int, ...]) -> float:
        """Energy (eV) that the networks' output at `level` is relative to."""
        summed: list[LevelName] = ["environment", "target"] if self.on_top and level == "target" else [level]
        return sum(member.networks[name].reference(np.array(numbers)) for name in summed)

    def _dense(self, numbers: tuple[int, ...]) -> Function:
        """PaiNN of all members in one go; of all levels too, where they are networks of their own."""
        bases: list[LevelName] = ["environment"] if self.on_top else self.levels
        states = [member.networks[level].state for member in self.members for level in bases]
        networks = DensePaiNN(self.settings, self.charge, states, numbers, self.dtype)
        if not self.on_top:
            function = networks.functions([None])
            return lambda *inputs: tuple(
                tensor.reshape(len(self.members), len(self.levels), *tensor.shape[2:]) for tensor in function(*inputs)
            )
        weights = torch.stack([member.networks["target"].state["weight"] for member in self.members]).to(self.dtype)
        return networks.functions([weights if level == "target" else None for level in self.levels])

    def _function(self, numbers: tuple[int, ...]) -> Function:
        potential, atoms = build(self.settings, self.charge, seed=0), torch.tensor(numbers, device=self.device)
        if self.on_top:
            states = [_joined(member.networks) for member in self.members]
            parts = [_derivatives(WithDifference(potential), states, atoms, self.dtype)]
        else:
            by_level = ([member.networks[level].state for member in self.members] for level in self.levels)
            parts = [_derivatives(potential, states, atoms, self.dtype) for states in by_level]
        chosen = ["environment", "target"].index(self.levels[0]) if self.on_top and len(self.levels) == 1 else 0

        def function(*inputs: Tensor) -> tuple[Tensor, ...]:
            results = [part(*inputs) for part in parts]
            whole = (torch.cat(tensors, dim=1) for tensors in zip(*results, strict=True))
            return tuple(tensor[:, chosen : chosen + len(self.levels)] for tensor in whole)

        return function


def look(frame: Frame, settings: PotentialSettings) -> Surroundings:
    """What networks of this kind see of a frame's charges; what is close by, within their cutoff."""
    nearby = settings.cutoff if settings.environment == "mm-elements" else None
    return Surroundings.of(frame, nearby, settings.cutoff if settings.has_short_range else None)


def _example(inputs: list[Tensor]) -> list[Tensor]:
    """Tensors like `inputs` to record a graph with, atoms apart from each other."""
    n, device = len(inputs[0]), inputs[0].device
    first = torch.arange(3.0 * n, dtype=torch.float64, device=device).reshape(n, 3).sin()
    first = first + torch.arange(n, device=device)[:, None]
    return [first, *(torch.zeros_like(tensor) for tensor in inputs[1:3]), *inputs[3:]]


def _joined(networks: Mapping[LevelName, Network]) -> dict[str, Tensor]:
    low = {f"potential.{name}": tensor for name, tensor in networks["environment"].state.items()}
    return low | {"weight": networks["target"].state["weight"]}


def _derivatives(
    network: nn.Module, states: Sequence[Mapping[str, Tensor]], atoms: Tensor, dtype: torch.dtype
) -> Callable[..., tuple[Tensor, ...]]:
    """Function of what the network sees: energies (K, L) of a network with L outputs, and their derivatives."""
    network = network.to(atoms.device, dtype).eval()
    stacked = {
        name: torch.stack([state[name].to(dtype) for state in states])
        for name, tensor in states[0].items()
        if tensor.is_floating_point()
    }

    def energies(*arguments: Any) -> tuple[Tensor, Tensor]:
        *seen, state = arguments
        values = functional_call(network, state, (atoms, *(tensor[None] for tensor in seen))).reshape(-1)
        return values, values

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        variables = tuple(range(min(len(inputs), _VARIABLES)))
        members = vmap(jacrev(energies, argnums=variables, has_aux=True), in_dims=(*(None for _ in inputs), 0))
        cast = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in inputs]
        gradients, values = members(*cast, stacked)
        return values.double(), *(gradient.double() for gradient in gradients)

    return function
