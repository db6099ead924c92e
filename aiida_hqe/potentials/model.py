r"""`Potential`: a SchNetPack representation that sees the point charges, and what an energy is made of.

.. math::
    E = s \sum_i \epsilon_i(R; \bar\phi, \mathcal{E}) + \sum_i q_i(R; \bar\phi, \mathcal{E}) \phi_i

with latent charges :math:`q_i` that add up to the total charge Q, and :math:`\bar\phi_i = \phi_i - \langle\phi\rangle`: a
constant potential c changes the energy by exactly Q c. How potential and field enter is up to the representation
(`aiida_hqe.potentials.representations`), and the energy is invariant under rotations and reflections. References of energy are
added in `stack`.

With ``mm-elements`` the network sees, in place of potential and field, the MM atoms within its cutoff as atoms of other
elements (after Boeselt, Thuerlemann and Riniker, JCTC 2021, 17, 2641): they send messages to QM atoms and receive none, and
have no energy of their own, so that an isolated one contributes nothing. A message is weighted by the charge of its sender:
what is switched off is silent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from aiida_hqe.potentials.representations import KINDS, Pairs, Seen, build_representation
from aiida_hqe.potentials.schnetpack_parts import build_mlp
from aiida_hqe.potentials.settings import PotentialSettings


class Potential(nn.Module):
    """Energy of QM atoms in the potential and field of point charges, relative to a reference.

    Parameters
    ----------
    settings
        Architecture.
    charge
        Total charge of the QM region (e): the sum of the latent charges.
    """

    scale: Tensor

    def __init__(self, settings: PotentialSettings, charge: int) -> None:
        super().__init__()
        self.settings = settings
        self.charge = float(charge)
        self.representation = build_representation(settings)
        self.energy = build_mlp(settings.features, 1, n_layers=2)
        self.charges = build_mlp(settings.features, 1, n_layers=2)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *near: Tensor) -> Tensor:
        """Energies (B,) in eV of B configurations of the same n atoms.

        Parameters
        ----------
        numbers
            Atomic numbers (n,), the same for every configuration.
        positions, potential, field
            (B, n, 3) angstrom, (B, n) eV/e, (B, n, 3) eV/(e angstrom).
        near
            With ``mm-elements``: positions (B, M, 3), charges (B, M) and elements (B, M, any type) of the MM atoms.
        """
        return self.with_descriptors(numbers, positions, potential, field, *near)[0]

    def with_descriptors(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *near: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (B,), and the descriptors (B, D) in which a difference is linear (`describe`)."""
        scalars = self._scalars(numbers, positions, potential, field, *near)
        energies = self.scale * self.energy(scalars).squeeze(-1).sum(1)
        if self.settings.environment != "blind":
            energies = energies + (self._charges(scalars) * potential).sum(1)
        return energies, describe(scalars, potential, self.settings)

    def latent_charges(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *near: Tensor
    ) -> Tensor:
        """Latent charges (B, n) in e; they add up to the total charge."""
        return self._charges(self._scalars(numbers, positions, potential, field, *near))

    def _scalars(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *near: Tensor) -> Tensor:
        batch, n = potential.shape
        kinds, i, j, seen, weights = numbers.expand(batch, n), *_among(n), None, None
        if self.settings.environment == "potential-field":
            centred = potential - potential.mean(1, keepdim=True)
            seen = Seen(centred.reshape(-1), field.reshape(-1, 3))
        elif self.settings.environment == "mm-elements":
            others, charges, elements = near
            kinds = torch.cat([kinds, elements.long() + KINDS], dim=1)
            positions = torch.cat([positions, others], dim=1)
            i, j, weights = _with_sources(n, i, j, charges)
        total = kinds.shape[1]
        offsets = (torch.arange(batch) * total)[:, None]
        vectors = (positions[:, j] - positions[:, i]).reshape(-1, 3)
        pairs = Pairs((i + offsets).reshape(-1), (j + offsets).reshape(-1), vectors, weights)
        scalars = self.representation(kinds.reshape(-1), pairs, seen)
        return scalars.reshape(batch, total, -1)[:, :n]

    def _charges(self, scalars: Tensor) -> Tensor:
        n = scalars.shape[1]
        if not self.settings.latent_charges:
            return torch.full_like(scalars[..., 0], self.charge / n)
        charges = self.charges(scalars).squeeze(-1)
        return charges + (self.charge - charges.sum(1, keepdim=True)) / n


def describe(scalars: Tensor, potential: Tensor, settings: PotentialSettings) -> Tensor:
    """Descriptors (B, D) of atoms with scalar features (B, n, F) at a potential (B, n).

    They are the features summed over the atoms, and behind them, where the network has latent charges, the features times the
    potential, without its mean, summed likewise. A linear function of the former adds to the energies of atoms, one of the
    latter to their charges, by charges that sum to zero.
    """
    summed = scalars.sum(1)
    if not settings.has_charges:
        return summed
    centred = potential - potential.mean(1, keepdim=True)
    return torch.cat([summed, (scalars * centred[..., None]).sum(1)], dim=1)


class WithDifference(nn.Module):
    """A potential and, as a linear function of its descriptors, what another level adds to it.

    Parameters
    ----------
    potential
        The network of the lower level.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.register_buffer("weight", torch.zeros(potential.settings.n_descriptors))

    weight: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        """Energies (B, 2) of the lower and the higher level; arguments as in `Potential.forward`."""
        energies, descriptors = self.potential.with_descriptors(*inputs)
        return torch.stack([energies, energies + descriptors @ self.weight], dim=1)


def _among(n: int) -> tuple[Tensor, Tensor]:
    """Indices i and j of all ordered pairs of n atoms."""
    i, j = (torch.from_numpy(index) for index in np.nonzero(~np.eye(n, dtype=bool)))
    return i, j


def _with_sources(n: int, i: Tensor, j: Tensor, charges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of n atoms with those of each atom and each source behind them, and the weights of all (p,)."""
    batch, sources = charges.shape
    ones = torch.ones((batch, len(i)), dtype=charges.dtype)
    weights = torch.cat([ones, charges.repeat(1, n)], dim=1).reshape(-1)
    atoms, others = torch.arange(n).repeat_interleave(sources), n + torch.arange(sources).repeat(n)
    return torch.cat([i, atoms]), torch.cat([j, others]), weights


def build(settings: PotentialSettings, charge: int, seed: int) -> Potential:
    """A freshly initialised network in single precision; the same seed gives the same weights."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = Potential(settings, charge)
    torch.set_rng_state(state)
    return network
