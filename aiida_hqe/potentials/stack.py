"""`Stack`: the networks of a committee side by side, evaluated with their derivatives in one replayed graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.graph import Function, record
from aiida_hqe.potentials.member import Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.surroundings import Surroundings


@dataclasses.dataclass(frozen=True, eq=False)
class Derivatives:
    """Energies (K,) in eV and their derivatives by positions (K, n, 3), potential (K, n) and field (K, n, 3)."""

    energies: Floats
    by_positions: Floats
    by_potential: Floats
    by_field: Floats

    def __add__(self, other: Derivatives) -> Derivatives:
        return Derivatives(
            self.energies + other.energies,
            self.by_positions + other.by_positions,
            self.by_potential + other.by_potential,
            self.by_field + other.by_field,
        )

    def mean(self) -> Derivatives:
        """Mean over the members, without the leading axis."""
        return Derivatives(*(np.asarray(getattr(self, name)).mean(axis=0) for name in _NAMES))

    def deviation(self) -> Derivatives:
        """Deviation of each member from the mean."""
        return Derivatives(*(getattr(self, name) - getattr(self, name).mean(axis=0) for name in _NAMES))

    def forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the QM atoms, (..., n_qm, 3)."""
        return surroundings.qm_forces(self.by_positions, self.by_potential, self.by_field)

    def mm_forces(self, surroundings: Surroundings) -> Floats:
        """Forces on the point charges, (..., n_mm, 3)."""
        return surroundings.mm_forces(self.by_potential, self.by_field)


_NAMES = [field.name for field in dataclasses.fields(Derivatives)]


class Stack:
    """K networks of one architecture, in double precision; one graph per sequence of elements.

    Parameters
    ----------
    networks
        The networks, one per member.
    settings, charge
        Architecture and total charge they were built with.
    """

    def __init__(self, networks: Sequence[Network], settings: PotentialSettings, charge: int) -> None:
        self.networks = list(networks)
        self.settings = settings
        self.charge = charge
        self._graphs: dict[tuple[int, ...], tuple[Function, Floats]] = {}

    def derivatives(self, frame: Frame, surroundings: Surroundings) -> Derivatives:
        """Energies and derivatives of all networks for one frame."""
        graph, references = self._graph(tuple(frame.numbers.tolist()))
        centred = frame.positions - frame.positions.mean(axis=0)
        inputs = (torch.from_numpy(array) for array in (centred, surroundings.potential, surroundings.field))
        with torch.no_grad():
            energies, *gradients = graph(*inputs)
        return Derivatives(energies.numpy() + references, *(gradient.numpy() for gradient in gradients))

    def _graph(self, numbers: tuple[int, ...]) -> tuple[Function, Floats]:
        if numbers not in self._graphs:
            names = list(self.networks[0].state)
            weights = {name: torch.stack([network.state[name].double() for network in self.networks]) for name in names}
            n = len(numbers)
            example = torch.arange(3.0 * n, dtype=torch.float64).reshape(n, 3).sin() + torch.arange(n)[:, None]
            zeros = torch.zeros((n, 3), dtype=torch.float64)
            function = _function(self.settings, self.charge, numbers, weights)
            graph = record(function, [example, zeros[:, 0].contiguous(), zeros], frozen=True)
            atoms = np.array(numbers)
            self._graphs[numbers] = (graph, np.array([network.reference(atoms) for network in self.networks]))
        return self._graphs[numbers]


def _function(
    settings: PotentialSettings, charge: int, numbers: tuple[int, ...], weights: dict[str, Tensor]
) -> Function:
    network = build(settings, charge, seed=0).double().eval()
    atoms = torch.tensor(numbers)

    def energy(
        positions: Tensor, potential: Tensor, field: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        value = functional_call(network, state, (atoms, positions[None], potential[None], field[None])).sum()
        return value, value

    derivatives = vmap(grad(energy, argnums=(0, 1, 2), has_aux=True), in_dims=(None, None, None, 0))

    def function(positions: Tensor, potential: Tensor, field: Tensor) -> tuple[Tensor, ...]:
        gradients, energies = derivatives(positions, potential, field, weights)
        return energies, *gradients

    return function
