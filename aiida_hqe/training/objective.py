r"""The objective of training, and its graph.

Per frame of n QM atoms, with errors :math:`\Delta` of energy, QM forces and MM forces,

.. math::
    l = w_E (\Delta E / n)^2 + w_F \sum_{i \in QM} |\Delta F_i|^2 / 3n + w_{MM} \sum_{m \in MM} |\Delta F_m|^2 / 3n .

Both force terms are normalised by the QM atoms, so that distant charges, which feel nothing, change nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.func import functional_call

from aiida_hqe.potentials.batched import BatchedPaiNN, is_batched
from aiida_hqe.potentials.graph import Function, record
from aiida_hqe.potentials.model import Potential
from aiida_hqe.training.batches import Block, further
from aiida_hqe.training.settings import TrainingSettings

GRAPHS = 8
"""Recorded graphs that are kept, those used last: members of a committee and rounds of a campaign share theirs."""

_graphs: OrderedDict[Hashable, Function] = OrderedDict()


def frame_losses(
    energy: Callable[..., Tensor], tensors: tuple[Tensor, ...], settings: TrainingSettings
) -> tuple[Tensor, Tensor]:
    """Losses (B,) and squared errors (B, 3) of energy per atom, QM and MM forces; derivatives are kept in the graph.

    `energy` maps positions, potential and field, and what is close by or positions, charges and elements of what is nearby, to
    energies (B,).
    """
    positions, potential, field, gradient, wanted, forces, factor, right, left, known, *_ = tensors
    close, near = further(tensors)
    inputs = tuple(tensor.detach().requires_grad_() for tensor in (positions, potential, field, *close[:1], *near[:1]))
    energies = energy(*inputs, *near[1:3])
    by_positions, by_potential, by_field, *by_rest = torch.autograd.grad(
        energies.sum(), inputs, create_graph=True, materialize_grads=True
    )
    n = potential.shape[1]
    through_field = (gradient * by_field[:, :, None, :]).sum(-1)
    found = by_potential[..., None] * field - by_positions - through_field
    parts = [by_potential[..., None], by_field]
    if close:
        found = found - (close[1] * by_rest[0][..., None]).sum(2)
        parts.append(by_rest[0])
    joined = torch.cat(parts, dim=-1).reshape(len(potential), -1)
    reduced = (factor * joined[:, None, :]).sum(-1) - right
    on_charges = (reduced**2).sum(1) + left
    if near:
        nearby = (near[3] * joined[:, :, None]).sum(1) + by_rest[0].reshape(len(potential), -1) + near[4]
        on_charges = on_charges + (nearby**2).sum(1)
    squares = torch.stack(
        [((energies - wanted) / n) ** 2, ((found - forces) ** 2).sum((1, 2)) / (3 * n), on_charges / (3 * n)], dim=1
    )
    weights = squares.new_tensor([settings.weight_energy, settings.weight_forces, settings.weight_mm_forces])
    squares = squares * known
    return (squares * weights).sum(1), squares


class Objective:
    """Losses of one network and their gradient, for blocks of a fixed number of frames.

    Parameters
    ----------
    network
        Gives the shapes and the buffers; its parameters are not read or written.
    settings
        Weights.
    """

    def __init__(self, network: Potential, settings: TrainingSettings) -> None:
        self.network = network
        self.settings = settings
        self.shapes = {name: parameter.shape for name, parameter in network.named_parameters()}

    def loss_and_gradient(self, flat: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        """Losses (B,) of the frames of `block`, and the gradient (P,) of their mean, at parameters (P,)."""
        graph = self._graph(flat, block)
        with torch.no_grad():
            losses, gradient = graph(flat, self.network.scale, *block.tensors)
        return losses, gradient

    def _graph(self, flat: Tensor, block: Block) -> Function:
        """The graph for blocks like this one: of what is not an argument it knows architecture, charge and weights."""
        weights = (self.settings.weight_energy, self.settings.weight_forces, self.settings.weight_mm_forces)
        shapes = tuple(tensor.shape for tensor in block.tensors)
        potential = self.network.settings.model_dump_json(), self.network.charge, flat.dtype, flat.device
        key = (potential, weights, block.numbers, shapes)
        if key not in _graphs:
            _graphs[key] = record(self._function(block.numbers), [flat, self.network.scale, *block.tensors])
        _graphs.move_to_end(key)
        while len(_graphs) > GRAPHS:
            _graphs.popitem(last=False)
        return _graphs[key]

    def errors(self, flat: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        """Losses (B,) and squared errors (B, 3), without recording a graph."""
        losses, squares = frame_losses(
            self._energy(flat, self.network.scale, block.numbers), block.tensors, self.settings
        )
        return losses.detach(), squares.detach()

    def flatten(self, network: Potential) -> Tensor:
        """Parameters of `network` as one vector (P,)."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()])

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Parameters by name from a vector (P,)."""
        parts = torch.split(flat, [shape.numel() for shape in self.shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def _energy(self, flat: Tensor, scale: Tensor, numbers: tuple[int, ...]) -> Callable[..., Tensor]:
        state, atoms = self.unflatten(flat) | {"scale": scale}, torch.tensor(numbers, device=flat.device)
        if is_batched(self.network.settings, len(numbers)):
            whole = dict(self.network.named_buffers()) | state
            return BatchedPaiNN(self.network.settings, self.network.charge, whole, numbers)
        return lambda *inputs: functional_call(self.network, state, (atoms, *inputs))

    def _function(self, numbers: tuple[int, ...]) -> Function:
        def function(flat: Tensor, scale: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            flat = flat.detach().requires_grad_()
            losses, _ = frame_losses(self._energy(flat, scale, numbers), tensors, self.settings)
            (gradient,) = torch.autograd.grad(losses.mean(), flat)
            return losses.detach(), gradient

        return function
