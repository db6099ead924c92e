r"""PaiNN of all members side by side, on all pairs of atoms at once: what `representations.FieldPaiNN` gives, much faster.

For the few atoms of a QM region a list of pairs costs more than it saves. Here filters are arrays over all pairs,
:math:`W_{kij f}`, zero beyond the cutoff, and every sum over neighbours is a product of small matrices:

.. math::
    \Delta s_{if} = \sum_j W^1_{ijf} c^1_{jf}, \quad
    \Delta v_{if} = \sum_j W^2_{ijf} c^2_{jf} \hat r_{ij} + \sum_j W^3_{ijf} c^3_{jf} v_{jf} .

Filters depend on distances alone, so they are symmetric in i and j, which spares their transposes. The networks are
differentiated by radial functions and directions, which are the same for all members; the chain rule from there to positions
follows by hand, in double precision, whatever the precision of the networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from aiida_hqe.potentials.graph import Function
from aiida_hqe.potentials.model import CHANNELS, curvature, describe
from aiida_hqe.potentials.settings import PotentialSettings

State = Mapping[str, Tensor]


def is_dense(settings: PotentialSettings) -> bool:
    """Whether networks of this kind can be evaluated here."""
    return settings.representation == "painn" and settings.environment != "mm-elements"


class DensePaiNN:
    """K networks of one architecture for atoms of given elements.

    Parameters
    ----------
    settings, charge
        Architecture, and total charge of the QM region.
    states
        State dict of each network, as of `model.Potential`.
    numbers
        Atomic numbers (n,).
    dtype
        Precision of the networks.
    """

    def __init__(
        self,
        settings: PotentialSettings,
        charge: float,
        states: Sequence[State],
        numbers: Sequence[int],
        dtype: torch.dtype,
    ) -> None:
        self.settings, self.charge, self.dtype = settings, charge, dtype
        self.k, self.n = len(states), len(numbers)
        floating = [name for name, tensor in states[0].items() if tensor.is_floating_point()]
        self._weights = {name: torch.stack([state[name].double() for state in states]).to(dtype) for name in floating}
        self._transposed = {name: w.transpose(1, 2).contiguous() for name, w in self._weights.items() if w.dim() == 3}
        atoms = torch.tensor(numbers, device=self._weights["scale"].device)
        rows = ("embedding", "potential_embedding", "field_embedding")
        self._scalar, self._per_potential, self._per_field = (
            self._weights[f"representation.{row}.weight"][:, atoms].contiguous() for row in rows
        )
        filters = [self._weights[f"representation.filter_net.{part}"] for part in ("weight", "bias")]
        joined = torch.cat([filters[0], filters[1][..., None]], dim=-1)
        self._filters = joined.reshape(self.k, settings.interactions, 3, settings.features, -1)
        self._radial = _Radial(settings.cutoff, self.n, states[0])
        self._join([*["energy"], *["charges"] * settings.has_charges, *["amplitudes"] * settings.has_short_range])

    def functions(self, levels: Sequence[Tensor | None]) -> Function:
        """Function of positions (n, 3), potential (n,), field (n, 3) and perhaps what is close by (n, 6), in double precision.

        It gives energies (K, L) and their derivatives (K, L, n, 3), (K, L, n), (K, L, n, 3) and (K, L, n, 6). Each of the L
        `levels` is ``None``, for the networks as they are, or weights (K, D) of a difference to add.
        """

        def function(positions: Tensor, *seen: Tensor) -> tuple[Tensor, ...]:
            radial, slope, directions, distances = self._radial(positions)
            leaves = [self._leaf(tensor) for tensor in (radial, directions, *seen)]
            energies, scalars = self._energies(*leaves)
            descriptors = describe(scalars, leaves[2], self.settings)
            parts = []
            for weights in levels:
                found = energies if weights is None else energies + (descriptors * weights).sum(1)
                gradients = torch.autograd.grad(found.sum(), leaves, retain_graph=True, materialize_grads=True)
                by_radial, by_directions, *by_seen = (tensor.double() for tensor in gradients)
                along = (by_radial * slope).sum(1).view(self.k, self.n, self.n, 1)
                across = (by_directions * directions).sum(-1, keepdim=True)
                by_vectors = along * directions + (by_directions - across * directions) / distances[..., None]
                by_positions = by_vectors.sum(1) - by_vectors.sum(2)
                parts.append((found.detach().double(), by_positions, *by_seen))
            return tuple(torch.stack(tensors, dim=1) for tensors in zip(*parts, strict=True))

        return function

    def _join(self, names: Sequence[str]) -> None:
        """Make one network ``readout`` of several of two layers each that read the same."""
        for layer, gather in ((0, _side_by_side), (1, _block_diagonal)):
            self._transposed[f"readout.{layer}.weight"] = gather(
                [self._transposed[f"{n}.{layer}.weight"] for n in names]
            )
            self._weights[f"readout.{layer}.bias"] = _side_by_side([self._weights[f"{n}.{layer}.bias"] for n in names])

    def _leaf(self, tensor: Tensor) -> Tensor:
        """One copy of `tensor` for each network, so that each has its own derivatives."""
        return tensor.detach().to(self.dtype).expand(self.k, *tensor.shape).clone().requires_grad_()

    def _energies(
        self, radial: Tensor, directions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (K,) and scalar features (K, n, F)."""
        scalars, vectors = self._start(potential, field)
        for layer in range(self.settings.interactions):
            scalars, vectors = self._interact(layer, scalars, vectors, radial, directions)
            scalars, vectors = self._mix(layer, scalars, vectors)
        found = self._network("readout", scalars)
        energies = self._weights["scale"] * found[..., 0].sum(1)
        if self.settings.environment == "blind":
            return energies, scalars
        charges = found[..., 1] if self.settings.latent_charges else torch.zeros_like(potential)
        charges = charges + (self.charge - charges.sum(1, keepdim=True)) / self.n
        energies = energies + (charges * potential).sum(1)
        return energies + self._of_close(found[..., 2:], vectors, *rest) if rest else energies, scalars

    def _of_close(self, amplitudes: Tensor, vectors: Tensor, close: Tensor) -> Tensor:
        """Energies (K,) of the networks' contact with what is close by (K, n, 6), and of quadrupoles in its curvature."""
        k, n, f, c = self.k, self.n, self.settings.features, CHANNELS
        axes = torch.bmm(vectors.reshape(k, 3 * n, f), self._transposed["axes.weight"])
        a, b = axes.view(k * n, 3, 2 * c).split(c, dim=2)
        turned = torch.bmm(curvature(close).view(k * n, 3, 3), b)
        products = (a * turned).sum(1).view(k, n, c)
        return (amplitudes * torch.cat([products, close[..., :1]], dim=2)).sum((1, 2))

    def _start(self, potential: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Scalar features (K, n, F) and vector features (K, n, 3, F) of atoms that have not met yet."""
        if self.settings.environment == "blind":
            return self._scalar, self._scalar.new_zeros(self.k, self.n, 3, self.settings.features)
        centred = potential - potential.mean(1, keepdim=True)
        return self._scalar + self._per_potential * centred[..., None], self._per_field[:, :, None] * field[..., None]

    def _interact(
        self, layer: int, scalars: Tensor, vectors: Tensor, radial: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        k, n, f = self.k, self.n, self.settings.features
        contexts = self._network(f"representation.interactions.{layer}.interatomic_context_net", scalars)
        first, second, third = contexts.split(f, dim=2)
        by_feature = torch.bmm(self._filters[:, layer, 0], radial).view(k * f, n, n)
        by_pair = torch.bmm(radial.transpose(1, 2), self._filters[:, layer, 1].transpose(1, 2)).view(k, n, n, f)
        told = _gather(first.transpose(1, 2).contiguous().view(k * f, 1, n), by_feature).view(k, f, n).transpose(1, 2)
        pointed = _point(by_pair, second, directions)
        by_feature = torch.bmm(self._filters[:, layer, 2], radial).view(k * f, n, n)
        source = (third[:, :, None] * vectors).permute(0, 3, 2, 1).contiguous().view(k * f, 3, n)
        passed = _gather(source, by_feature).view(k, f, 3, n).permute(0, 3, 2, 1)
        return scalars + told, vectors + pointed + passed

    def _mix(self, layer: int, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        k, n, f, name = self.k, self.n, self.settings.features, f"representation.mixing.{layer}"
        mixed = torch.bmm(vectors.reshape(k, 3 * n, f), self._transposed[f"{name}.mu_channel_mix.weight"])
        one, other = mixed.view(k, n, 3, 2 * f).split(f, dim=3)
        norms = torch.sqrt((one**2).sum(2) + self.settings.smoothing)
        contexts = self._network(f"{name}.intraatomic_context_net", torch.cat([scalars, norms], dim=2))
        first, second, third = contexts.split(f, dim=2)
        return scalars + first + third * (one * other).sum(2), vectors + second[:, :, None] * other

    def _network(self, name: str, features: Tensor) -> Tensor:
        """Two layers, of every network."""
        return self._layer(f"{name}.1", silu(self._layer(f"{name}.0", features)))

    def _layer(self, name: str, features: Tensor) -> Tensor:
        return torch.baddbmm(self._weights[f"{name}.bias"][:, None], features, self._transposed[f"{name}.weight"])


class _Radial:
    """Radial functions of all pairs times the cutoff function, behind them the cutoff function itself, and their slopes."""

    def __init__(self, cutoff: float, n: int, state: State) -> None:
        self._frequency, self._cutoff = math.pi / cutoff, cutoff
        self._offsets, self._widths = (
            state[f"representation.radial_basis.{name}"].double()[:, None] for name in ("offsets", "widths")
        )
        self._same = torch.eye(n, dtype=torch.float64, device=self._offsets.device)

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Functions and slopes (G + 1, n n), directions from i to j (n, n, 3), distances (n, n); an atom is at 1 from itself."""
        vectors = positions[None, :] - positions[:, None]
        distances = ((vectors**2).sum(-1) + self._same).sqrt()
        d = distances.view(1, -1)
        inside = (d < self._cutoff) * (1.0 - self._same).view(1, -1)
        cut = 0.5 * (torch.cos(self._frequency * d) + 1.0) * inside
        cut_slope = -0.5 * self._frequency * torch.sin(self._frequency * d) * inside
        scaled = (d - self._offsets) / self._widths
        gaussians = torch.exp(-0.5 * scaled**2)
        radial = torch.cat([gaussians * cut, cut])
        slope = torch.cat([gaussians * (cut_slope - cut * scaled / self._widths), cut_slope])
        return radial, slope, vectors / distances[..., None], distances


class _Gather(torch.autograd.Function):
    """Product (b, c, n) of (b, c, n) and (b, n, n); the latter is symmetric, so its transpose is not needed."""

    @staticmethod
    def forward(ctx: Any, sources: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(sources, filters)
        return torch.bmm(sources, filters)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gradient, (sources, filters) = gradients[0].contiguous(), ctx.saved_tensors
        turned = sources.transpose(1, 2)
        outer = turned * gradient if sources.shape[1] == 1 else torch.bmm(turned, gradient)
        return torch.bmm(gradient, filters), outer


class _Point(torch.autograd.Function):
    """Sums over j, (k, n, 3, f), of directions (k, n, n, 3) times filters (k, n, n, f) times sources (k, n, f)."""

    @staticmethod
    def forward(ctx: Any, filters: Tensor, sources: Tensor, directions: Tensor) -> Tensor:
        k, n, _, f = filters.shape
        messages = filters * sources[:, None]
        ctx.save_for_backward(filters, sources, directions, messages)
        turned = directions.reshape(k * n, n, 3).transpose(1, 2)
        return torch.bmm(turned, messages.view(k * n, n, f)).view(k, n, 3, f)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        filters, sources, directions, messages = ctx.saved_tensors
        k, n, _, f = filters.shape
        gradient = gradients[0].contiguous().view(k * n, 3, f)
        by_messages = torch.bmm(directions.reshape(k * n, n, 3), gradient).view(k, n, n, f)
        by_directions = torch.bmm(messages.view(k * n, n, f), gradient.transpose(1, 2)).view(k, n, n, 3)
        return by_messages * sources[:, None], (by_messages * filters).sum(1), by_directions


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts), dim=-1)


def _block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.block_diag(*of_one) for of_one in zip(*parts, strict=True)])


def _gather(sources: Tensor, filters: Tensor) -> Tensor:
    return _Gather.apply(sources, filters)  # type: ignore[no-untyped-call]


def _point(filters: Tensor, sources: Tensor, directions: Tensor) -> Tensor:
    return _Point.apply(filters, sources, directions)  # type: ignore[no-untyped-call]
