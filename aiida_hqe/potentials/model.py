r"""`Potential`: a SchNetPack PaiNN that sees the potential and the field of the point charges at its atoms.

.. math::
    E = s \sum_i \epsilon_i(R; \bar\phi, \mathcal{E}) + \sum_i q_i(R; \bar\phi, \mathcal{E}) \phi_i

with latent charges :math:`q_i` that add up to the total charge Q, and :math:`\bar\phi_i = \phi_i - \langle\phi\rangle`: a
constant potential c changes the energy by exactly Q c. The potential enters the scalar features of PaiNN
(Schuett, Unke, Gastegger, ICML 2021), the field is the initial value of its vector features, both with one weight per
element and feature, so that the energy is invariant under rotations. References of energy are added in `stack`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from aiida_hqe.potentials.schnetpack_parts import CosineCutoff, GaussianRBF, PaiNN, build_mlp
from aiida_hqe.potentials.settings import PotentialSettings


class FieldPaiNN(PaiNN):
    """SchNetPack's PaiNN, with scalar and vector inputs of each atom in place of blank initial features."""

    def __init__(self, settings: PotentialSettings) -> None:
        super().__init__(
            n_atom_basis=settings.features,
            n_interactions=settings.interactions,
            radial_basis=GaussianRBF(settings.radial_functions, settings.cutoff),
            cutoff_fn=CosineCutoff(settings.cutoff),
        )
        self.potential_embedding = nn.Embedding(119, settings.features)
        self.field_embedding = nn.Embedding(119, settings.features)
        self.embedding = nn.Embedding(119, settings.features)

    def forward(
        self, numbers: Tensor, pairs: tuple[Tensor, Tensor], vectors: Tensor, potential: Tensor, field: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scalar (n, F) and vector (n, 3, F) features of n atoms with potential (n,) and field (n, 3).

        `pairs` are the indices i and j of the pairs of atoms, `vectors` (n_pairs, 3) point from i to j.
        """
        distances = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        directions = vectors / distances
        filters = self.filter_net(self.radial_basis(distances)) * self.cutoff_fn(distances)[..., None]
        scalars = (self.embedding(numbers) + self.potential_embedding(numbers) * potential[:, None]).unsqueeze(1)
        features = self.field_embedding(numbers)[:, None, :] * field[:, :, None]
        by_layer = torch.split(filters, 3 * self.n_atom_basis, dim=-1)
        for interaction, mixing, weights in zip(self.interactions, self.mixing, by_layer, strict=True):
            scalars, features = interaction(scalars, features, weights, directions, *pairs, len(numbers))
            scalars, features = mixing(scalars, features)
        return scalars.squeeze(1), features


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
        self.representation = FieldPaiNN(settings)
        self.energy = build_mlp(settings.features, 1, n_layers=2)
        self.charges = build_mlp(settings.features, 1, n_layers=2)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor) -> Tensor:
        """Energies (B,) in eV of B configurations of the same n atoms.

        Parameters
        ----------
        numbers
            Atomic numbers (n,), the same for every configuration.
        positions, potential, field
            (B, n, 3) angstrom, (B, n) eV/e, (B, n, 3) eV/(e angstrom).
        """
        return self.with_descriptors(numbers, positions, potential, field)[0]

    def with_descriptors(
        self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (B,), and the scalar features summed over the atoms (B, F), on which a difference is built."""
        scalars = self._scalars(numbers, positions, potential, field)
        energies = self.scale * self.energy(scalars).squeeze(-1).sum(1)
        if self.settings.environment != "blind":
            energies = energies + (self._charges(scalars) * potential).sum(1)
        return energies, scalars.sum(1)

    def latent_charges(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor) -> Tensor:
        """Latent charges (B, n) in e; they add up to the total charge."""
        return self._charges(self._scalars(numbers, positions, potential, field))

    def _scalars(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor) -> Tensor:
        batch, n = potential.shape
        i, j = (torch.from_numpy(index) for index in np.nonzero(~np.eye(n, dtype=bool)))
        offsets = (torch.arange(batch) * n)[:, None]
        pairs = ((i + offsets).reshape(-1), (j + offsets).reshape(-1))
        vectors = (positions[:, j] - positions[:, i]).reshape(-1, 3)
        seen = 0.0 if self.settings.environment == "blind" else 1.0
        centred = (seen * (potential - potential.mean(1, keepdim=True))).reshape(-1)
        scalars, _ = self.representation(numbers.repeat(batch), pairs, vectors, centred, seen * field.reshape(-1, 3))
        return scalars.reshape(batch, n, -1)

    def _charges(self, scalars: Tensor) -> Tensor:
        n = scalars.shape[1]
        if not self.settings.latent_charges:
            return torch.full_like(scalars[..., 0], self.charge / n)
        charges = self.charges(scalars).squeeze(-1)
        return charges + (self.charge - charges.sum(1, keepdim=True)) / n


class WithDifference(nn.Module):
    """A potential and, as a linear function of its summed scalar features, what another level adds to it.

    Parameters
    ----------
    potential
        The network of the lower level.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.register_buffer("weight", torch.zeros(potential.settings.features))

    weight: Tensor

    def forward(self, numbers: Tensor, positions: Tensor, potential: Tensor, field: Tensor) -> Tensor:
        """Energies (B, 2) of the lower and the higher level; arguments as in `Potential.forward`."""
        energies, descriptors = self.potential.with_descriptors(numbers, positions, potential, field)
        return torch.stack([energies, energies + descriptors @ self.weight], dim=1)


def build(settings: PotentialSettings, charge: int, seed: int) -> Potential:
    """A freshly initialised network in single precision; the same seed gives the same weights."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = Potential(settings, charge)
    torch.set_rng_state(state)
    return network
