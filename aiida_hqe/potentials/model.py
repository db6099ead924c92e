r"""`Potential`: a SchNetPack representation that sees the point charges, and what an energy is made of.

.. math::
    E = s \sum_i \epsilon_i(R; \bar\phi, \mathcal{E}) + \sum_i q_i(R; \bar\phi, \mathcal{E}) \phi_i
        + \sum_i (p_i c_{i0} + \Theta_i : C_i)

with latent charges :math:`q_i` that add up to the total charge Q, and :math:`\bar\phi_i = \phi_i - \langle\phi\rangle`: a
constant potential c changes the energy by exactly Q c. Charges close by touch the density, by amounts :math:`p_i` of a contact
:math:`c_{i0}`, and see quadrupoles :math:`\Theta_i = \sum_c t_{ic} a_{ic} b_{ic}^T` in the curvature :math:`C_i` of their
potential (`aiida_hqe.potentials.close`): products of vectors a, b, linear in the vector features, with weights t that follow, as
:math:`p_i`, from the scalar ones. All depend on :math:`R, \bar\phi, \mathcal{E}`. How potential and field enter is up to the
representation (`aiida_hqe.potentials.representations`), and the energy is invariant under rotations and
reflections. References of energy are added in `stack`.

With ``mm-elements`` the network sees, in place of potential and field, the MM atoms within its cutoff as atoms of other
elements (after Boeselt, Thuerlemann and Riniker, JCTC 2021, 17, 2641): they send messages to QM atoms and receive none, and
have no energy of their own, so that an isolated one contributes nothing. A message is weighted by the charge of its sender:
what is switched off is silent.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from aiida_hqe.potentials.close import BASIS
from aiida_hqe.potentials.representations import KINDS, Pairs, Seen, build_representation
from aiida_hqe.potentials.schnetpack_parts import build_mlp
from aiida_hqe.potentials.settings import PotentialSettings

CHANNELS = 8
"""Products of vectors that make up a quadrupole; as many as features are no better."""


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
        if settings.has_short_range:
            self.axes = nn.Linear(settings.features, 2 * CHANNELS, bias=False)
            self.amplitudes = build_mlp(settings.features, CHANNELS + 1, n_layers=2)
            with torch.no_grad():
                self.amplitudes[-1].weight.mul_(settings.first_response)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor) -> Tensor:
        """Energies (B,) in eV of B configurations of the same n atoms.

        Parameters
        ----------
        numbers
            Atomic numbers (n,), the same for every configuration.
        positions, potential, field
            (B, n, 3) angstrom, (B, n) eV/e, (B, n, 3) eV/(e angstrom).
        rest
            With ``short_range``: contact and curvature (B, n, 6), eV/e and eV/(e angstrom^2). With ``mm-elements``:
            positions (B, M, 3), charges (B, M) and elements (B, M, any type) of the MM atoms.
        """
        return self.with_descriptors(numbers, positions, potential, field, *rest)[0]

    def with_descriptors(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (B,), and the descriptors (B, D) in which a difference is linear (`describe`)."""
        scalars, vectors = self._features(numbers, positions, potential, field, *rest)
        energies = self.scale * self.energy(scalars).squeeze(-1).sum(1)
        if self.settings.environment != "blind":
            energies = energies + (self._charges(scalars) * potential).sum(1)
        if self.settings.has_short_range:
            a, b = self.axes(vectors).split(CHANNELS, dim=-1)
            products = torch.cat([(a * (curvature(rest[0]) @ b)).sum(2), rest[0][..., :1]], dim=-1)
            energies = energies + (self.amplitudes(scalars) * products).sum((1, 2))
        return energies, describe(scalars, potential, self.settings)

    def latent_charges(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor
    ) -> Tensor:
        """Latent charges (B, n) in e; they add up to the total charge."""
        return self._charges(self._features(numbers, positions, potential, field, *rest)[0])

    def _features(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor, *rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scalar features (B, n, F) and vector features (B, n, 3, F) of the QM atoms."""
        batch, n = potential.shape
        kinds, i, j, seen, weights = numbers.expand(batch, n), *_among(n, positions.device), None, None
        if self.settings.environment == "potential-field":
            centred = potential - potential.mean(1, keepdim=True)
            seen = Seen(centred.reshape(-1), field.reshape(-1, 3))
        elif self.settings.environment == "mm-elements":
            others, charges, elements = rest
            kinds = torch.cat([kinds, elements.long() + KINDS], dim=1)
            positions = torch.cat([positions, others], dim=1)
            i, j, weights = _with_sources(n, i, j, charges)
        total = kinds.shape[1]
        offsets = (torch.arange(batch, device=positions.device) * total)[:, None]
        vectors = (positions[:, j] - positions[:, i]).reshape(-1, 3)
        pairs = Pairs((i + offsets).reshape(-1), (j + offsets).reshape(-1), vectors, weights)
        scalars, vectors = self.representation(kinds.reshape(-1), pairs, seen)
        return scalars.reshape(batch, total, -1)[:, :n], vectors.reshape(batch, total, 3, -1)[:, :n]

    def _charges(self, scalars: Tensor) -> Tensor:
        n = scalars.shape[1]
        if not self.settings.latent_charges:
            return torch.full_like(scalars[..., 0], self.charge / n)
        charges = self.charges(scalars).squeeze(-1)
        return charges + (self.charge - charges.sum(1, keepdim=True)) / n


def curvature(components: Tensor) -> Tensor:
    """Curvature as symmetric matrices (..., 3, 3) without trace, from all components (..., 6) of what is close by."""
    basis = torch.tensor(BASIS.reshape(-1, 9), dtype=components.dtype, device=components.device)
    return (components[..., 1:] @ basis).unflatten(-1, (3, 3))


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


def _among(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices i and j of all ordered pairs of n atoms."""
    i, j = (torch.tensor(index, device=device) for index in np.nonzero(~np.eye(n, dtype=bool)))
    return i, j


def _with_sources(n: int, i: Tensor, j: Tensor, charges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of n atoms with those of each atom and each source behind them, and the weights of all (p,)."""
    (batch, sources), device = charges.shape, charges.device
    ones = torch.ones((batch, len(i)), dtype=charges.dtype, device=device)
    weights = torch.cat([ones, charges.repeat(1, n)], dim=1).reshape(-1)
    atoms = torch.arange(n, device=device).repeat_interleave(sources)
    others = n + torch.arange(sources, device=device).repeat(n)
    return torch.cat([i, atoms]), torch.cat([j, others]), weights


def build(settings: PotentialSettings, charge: int, seed: int) -> Potential:
    """A freshly initialised network in single precision; the same seed gives the same weights."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = Potential(settings, charge)
    torch.set_rng_state(state)
    return network
