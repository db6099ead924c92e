r"""PaiNN of one network for many frames of the same atoms, on all pairs at once, to be differentiated twice: for training.

It gives what `model.Potential` gives. As in `dense`, filters are arrays over all pairs that are symmetric in i and j; here every
array has the features in front, :math:`W_{f b i j}`, so that all sums over neighbours are products of small matrices without
rearrangement. Directions need no filters of their own:

.. math:: \sum_j W_{ijf} c_{jf} \hat r_{ij} = \sum_j w_{ijf} c_{jf} r_j - r_i \sum_j w_{ijf} c_{jf}, \quad w = W / d .

Nothing is larger than pairs times features, where messages on lists of pairs have three vectors for each: training is two to
three times faster. Below `FEW` atoms the small matrices are too small, and lists of pairs win.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import silu

from aiida_hqe.potentials.dense import is_dense
from aiida_hqe.potentials.model import CHANNELS, curvature
from aiida_hqe.potentials.settings import PotentialSettings

FEW = 10
"""Atoms below which `model.Potential` is as fast or faster: a step here takes 1.4 times as long at 6, 1.1 at 9, 0.6 at 14."""


def is_batched(settings: PotentialSettings, atoms: int) -> bool:
    """Whether networks of this kind for so many atoms are trained here."""
    return is_dense(settings) and atoms >= FEW


class BatchedPaiNN:
    """A network as a function of what `Potential` takes: energies (B,).

    Parameters
    ----------
    settings, charge
        Architecture, and total charge of the QM region.
    state
        Parameters and buffers of a `model.Potential`; derivatives by the parameters pass through.
    numbers
        Atomic numbers (n,).
    """

    def __init__(
        self, settings: PotentialSettings, charge: float, state: Mapping[str, Tensor], numbers: Sequence[int]
    ) -> None:
        self.settings, self.charge, self.n = settings, charge, len(numbers)
        weight, bias = (state[f"representation.filter_net.{part}"] for part in ("weight", "bias"))
        self._state, self._atoms = state, torch.tensor(numbers, device=weight.device)
        self._filters = torch.cat([weight, bias[:, None]], dim=1).view(
            settings.interactions, 3, settings.features, weight.shape[1] + 1
        )

    def __call__(self, positions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor) -> Tensor:
        """Energies (B,) in eV."""
        radial, per_distance = self._radial(positions)
        places = positions.transpose(1, 2).contiguous()
        scalars, vectors = self._start(potential, field)
        for layer in range(self.settings.interactions):
            scalars, vectors = self._interact(layer, scalars, vectors, radial, per_distance, places)
            scalars, vectors = self._mix(layer, scalars, vectors)
        energies = self._state["scale"] * self._network("energy", scalars).view(len(potential), self.n).sum(1)
        if self.settings.environment == "blind":
            return energies
        charges = torch.zeros_like(potential)
        if self.settings.latent_charges:
            charges = self._network("charges", scalars).view(len(potential), self.n)
        charges = charges + (self.charge - charges.sum(1, keepdim=True)) / self.n
        energies = energies + (charges * potential).sum(1)
        return energies if vectors is None or not rest else energies + self._of_close(scalars, vectors, *rest)

    def _of_close(self, scalars: Tensor, vectors: Tensor, close: Tensor) -> Tensor:
        """Energies (B,) of the network's contact with what is close by (B, n, 6), and of quadrupoles in its curvature."""
        c, f, batch = CHANNELS, self.settings.features, len(close)
        axes = (self._state["axes.weight"] @ vectors.reshape(f, -1)).view(2 * c, batch, 3, self.n)
        a, b = (part.permute(1, 3, 2, 0) for part in axes.split(c))
        products = torch.cat([(a * (curvature(close) @ b)).sum(2), close[..., :1]], dim=2)
        return (self._network("amplitudes", scalars).view(c + 1, batch, self.n).permute(1, 2, 0) * products).sum((1, 2))

    def _radial(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Radial functions of all pairs times the cutoff function, with that behind them (G + 1, B n n), and all by distance."""
        cutoff = self.settings.cutoff
        offsets, widths = (
            self._state[f"representation.radial_basis.{name}"][:, None] for name in ("offsets", "widths")
        )
        same = torch.eye(self.n, dtype=positions.dtype, device=positions.device)
        vectors = positions[:, None, :] - positions[:, :, None]
        d = ((vectors**2).sum(-1) + same).sqrt().reshape(1, -1)
        inside = (d < cutoff) * (1.0 - same).reshape(1, -1).repeat(1, len(positions))
        cut = 0.5 * (torch.cos((math.pi / cutoff) * d) + 1.0) * inside
        radial = torch.cat([torch.exp(-0.5 * ((d - offsets) / widths) ** 2) * cut, cut])
        return radial, radial / d

    def _start(self, potential: Tensor, field: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scalar features (F, B n) and vector features (F, B, 3, n), ``None`` for zero, of atoms that have not met yet."""
        scalars = self._embedding("embedding")
        if self.settings.environment == "blind":
            return scalars.repeat(1, len(potential)), None
        centred = potential - potential.mean(1, keepdim=True)
        scalars = scalars[:, None] + self._embedding("potential_embedding")[:, None] * centred
        vectors = self._embedding("field_embedding")[:, None, None] * field.transpose(1, 2).contiguous()
        return scalars.reshape(self.settings.features, -1), vectors

    def _interact(
        self,
        layer: int,
        scalars: Tensor,
        vectors: Tensor | None,
        radial: Tensor,
        per_distance: Tensor,
        places: Tensor,
    ) -> tuple[Tensor, Tensor]:
        f, n = self.settings.features, self.n
        contexts = self._network(f"representation.interactions.{layer}.interatomic_context_net", scalars)
        first, second, third = contexts.view(3, f, -1, 1, n).unbind(0)
        told = _gather(first, self._filters[layer, 0] @ radial)
        sources = torch.cat([torch.ones_like(places[:, :1]), places], dim=1)
        count, moment = _gather(second * sources, self._filters[layer, 1] @ per_distance).split([1, 3], dim=2)
        pointed = moment - count * places
        if vectors is not None:
            pointed = pointed + _gather(third * vectors, self._filters[layer, 2] @ radial) + vectors
        return scalars + told.reshape(f, -1), pointed

    def _mix(self, layer: int, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        f, n, name = self.settings.features, self.n, f"representation.mixing.{layer}"
        mixed = self._state[f"{name}.mu_channel_mix.weight"] @ vectors.reshape(f, -1)
        one, other = mixed.view(2, f, -1, 3, n).unbind(0)
        norms = torch.sqrt((one**2).sum(2) + self.settings.smoothing).reshape(f, -1)
        contexts = self._network(f"{name}.intraatomic_context_net", torch.cat([scalars, norms]))
        first, second, third = contexts.view(3, f, -1).unbind(0)
        scalars = scalars + first + third * (one * other).sum(2).reshape(f, -1)
        return scalars, vectors + second.view(f, -1, 1, n) * other

    def _embedding(self, name: str) -> Tensor:
        """Row of each atom (F, n)."""
        return self._state[f"representation.{name}.weight"][self._atoms].t().contiguous()

    def _network(self, name: str, features: Tensor) -> Tensor:
        """Two layers."""
        return self._layer(f"{name}.1", silu(self._layer(f"{name}.0", features)))

    def _layer(self, name: str, features: Tensor) -> Tensor:
        return torch.addmm(self._state[f"{name}.bias"][:, None], self._state[f"{name}.weight"], features)


def _gather(sources: Tensor, filters: Tensor) -> Tensor:
    """Sums over j, (F, B, c, n), of sources (F, B, c, n) times filters (F, B n n)."""
    f, batch, rows, n = sources.shape
    return torch.bmm(sources.reshape(f * batch, rows, n), filters.view(f * batch, n, n)).view(f, batch, rows, n)
