"""Representations of SchNetPack whose atoms start with a potential and a field, or listen to sources that never listen.

All read the same description of atoms and pairs, and return the scalar and the vector features of each atom. The potential
enters the scalar features, with one weight per element and feature. The field is a vector:

- PaiNN (Schuett, Unke, Gastegger, ICML 2021): the initial value of the vector features;
- FieldSchNet (Gastegger, Schuett, Mueller, Chem. Sci. 2021, 12, 11473): acts on the dipole features in every layer, as published;
- SO3net of SchNetPack: the initial value of the features of l = 1. Couplings that do not conserve parity are left out, for with
  them a molecule and its mirror image would have different energies.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aiida_hqe.potentials.schnetpack_parts import (
    CosineCutoff,
    FieldSchNet,
    GaussianRBF,
    PaiNN,
    SO3net,
    generate_clebsch_gordan_rsh,
    scalar2rsh,
)
from aiida_hqe.potentials.settings import PotentialSettings

KINDS = 119
"""Rows of an embedding: elements 0 to 118. MM atoms that are nodes of the graph have rows of their own behind them."""

LMAX = 2
_FIELD = "electric_field"
_TO_RSH, _FROM_RSH = [1, 2, 0], [3, 1, 2]
"""Cartesian components in the order of real spherical harmonics of l = 1, y, z, x, and these in the order of the former."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of atoms: indices i and j (p,), vectors from i to j (p, 3), and the weight of what j tells i (p,), or one."""

    i: Tensor
    j: Tensor
    vectors: Tensor
    weights: Tensor | None = None

    def weigh(self, cutoffs: Tensor) -> Tensor:
        """Cutoffs (p,) or (p, 1) times weights."""
        return cutoffs if self.weights is None else cutoffs * self.weights.reshape(cutoffs.shape)


@dataclasses.dataclass(frozen=True)
class Seen:
    """Potential (n,) and field (n, 3) at the atoms."""

    potential: Tensor
    field: Tensor


class Representation(Protocol):
    """What a potential needs of a representation."""

    def __call__(self, kinds: Tensor, pairs: Pairs, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """Scalar (n, F) and vector (n, 3, F) features of atoms of kinds (n,); without `seen` they feel nothing from outside."""


class FieldPaiNN(PaiNN):
    """SchNetPack's PaiNN."""

    def __init__(self, settings: PotentialSettings) -> None:
        super().__init__(**_parts(settings), epsilon=settings.smoothing)
        _embed(self, settings)

    def forward(self, kinds: Tensor, pairs: Pairs, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """See `Representation`."""
        distances = torch.linalg.vector_norm(pairs.vectors, dim=1, keepdim=True)
        directions = pairs.vectors / distances
        filters = self.filter_net(self.radial_basis(distances)) * pairs.weigh(self.cutoff_fn(distances))[..., None]
        scalars = _scalars(self, kinds, seen).unsqueeze(1)
        features = scalars.new_zeros(1, 3, 1).expand(len(kinds), 3, self.n_atom_basis)
        if seen is not None:
            features = self.field_embedding(kinds)[:, None, :] * seen.field[:, :, None]
        by_layer = torch.split(filters, 3 * self.n_atom_basis, dim=-1)
        for interaction, mixing, weights in zip(self.interactions, self.mixing, by_layer, strict=True):
            scalars, features = interaction(scalars, features, weights, directions, pairs.i, pairs.j, len(kinds))
            scalars, features = mixing(scalars, features)
        return scalars.squeeze(1), features


class PointFieldSchNet(FieldSchNet):
    """SchNetPack's FieldSchNet, in a field that differs from atom to atom."""

    def __init__(self, settings: PotentialSettings) -> None:
        super().__init__(**_parts(settings), external_fields=[_FIELD])
        _embed(self, settings)

    def forward(self, kinds: Tensor, pairs: Pairs, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """See `Representation`."""
        distances = torch.linalg.vector_norm(pairs.vectors, dim=1)
        radial, cutoffs = self.radial_basis(distances), pairs.weigh(self.cutoff_fn(distances))
        edges = (pairs.vectors, pairs.i, pairs.j, cutoffs)
        scalars = _scalars(self, kinds, seen).unsqueeze(1)
        field = scalars.new_zeros(len(kinds), 3) if seen is None else seen.field
        dipoles = self.initial_dipole_update(scalars, {_FIELD: torch.zeros_like(field)[:, :, None]}, *edges)
        layers = zip(
            self.interactions, self.field_interaction, self.dipole_interaction, self.dipole_update, strict=True
        )
        for interaction, with_field, between, update in layers:
            change = interaction(scalars.squeeze(1), radial, pairs.i, pairs.j, cutoffs).unsqueeze(1)
            change = change + with_field(dipoles, {_FIELD: field[:, :, None]})
            change = change + between(scalars, dipoles, radial, distances, *edges)
            scalars = scalars + change
            dipoles = update(change, dipoles, *edges)
        return scalars.squeeze(1), dipoles[_FIELD]


class FieldSO3net(SO3net):
    """SchNetPack's SO3net up to l = 2."""

    def __init__(self, settings: PotentialSettings) -> None:
        super().__init__(**_parts(settings), lmax=LMAX)
        _embed(self, settings)
        coefficients = couplings()
        for part in (*self.so3convs, self.so3product):
            _couple(part, coefficients)

    def forward(self, kinds: Tensor, pairs: Pairs, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """See `Representation`."""
        distances = torch.linalg.vector_norm(pairs.vectors, dim=1, keepdim=True)
        directions, radial = harmonics(pairs.vectors / distances), self.radial_basis(distances)
        cutoffs = pairs.weigh(self.cutoff_fn(distances))[..., None]
        features = scalar2rsh(_scalars(self, kinds, seen).unsqueeze(1), LMAX)
        if seen is not None:
            vectors = self.field_embedding(kinds)[:, None, :] * seen.field[:, _TO_RSH, None]
            features = torch.cat([features[:, :1], vectors, features[:, 4:]], dim=1)
        layers = zip(self.so3convs, self.mixings1, self.mixings2, self.gatings, self.mixings3, strict=True)
        for convolve, first, second, gate, third in layers:
            change = convolve(features, radial, directions, cutoffs, pairs.i, pairs.j)
            change = change + self.so3product(change, first(change))
            features = features + third(gate(second(change)))
        return features[:, 0], features[:, _FROM_RSH]


_NAMES: dict[str, type[nn.Module]] = {"painn": FieldPaiNN, "fieldschnet": PointFieldSchNet, "so3net": FieldSO3net}


def build_representation(settings: PotentialSettings) -> nn.Module:
    """The representation that the settings name."""
    return _NAMES[settings.representation](settings)


def _parts(settings: PotentialSettings) -> dict[str, Any]:
    return {
        "n_atom_basis": settings.features,
        "n_interactions": settings.interactions,
        "radial_basis": GaussianRBF(settings.radial_functions, settings.cutoff),
        "cutoff_fn": CosineCutoff(settings.cutoff),
    }


def _embed(module: Any, settings: PotentialSettings) -> None:
    """Give `module` the initial features of its atoms: constant, per potential, per field."""
    rows = 2 * KINDS if settings.environment == "mm-elements" else KINDS
    module.potential_embedding = nn.Embedding(KINDS, settings.features)
    module.field_embedding = nn.Embedding(KINDS, settings.features)
    with torch.no_grad():
        module.potential_embedding.weight.mul_(settings.first_response)
        module.field_embedding.weight.mul_(settings.first_response)
    module.embedding = nn.Embedding(rows, settings.features)


def _scalars(module: Any, kinds: Tensor, seen: Seen | None) -> Tensor:
    scalars: Tensor = module.embedding(kinds)
    return scalars if seen is None else scalars + module.potential_embedding(kinds) * seen.potential[:, None]


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics (p, 9) of unit vectors (p, 3) up to `LMAX`, in the order and norm of SchNetPack."""
    x, y, z = directions.unbind(1)
    first = [math.sqrt(3.0) * component for component in (y, z, x)]
    second = [x * y, y * z, (z * z - 1.0 / 3.0) * math.sqrt(0.75), x * z, 0.5 * (x * x - y * y)]
    whole = [torch.ones_like(x), *first, *(math.sqrt(15.0) * component for component in second)]
    return torch.stack(whole, dim=1) * math.sqrt(0.25 / math.pi)


def couplings() -> Tensor:
    """Clebsch-Gordan coefficients (9, 9, 9) of SchNetPack that conserve parity, in double precision.

    Each block of three degrees is proportional to the integrals of three harmonics, which quadrature gives to round-off.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    angles = np.arange(16) * (2.0 * np.pi / 16)
    planar, z = np.sqrt(1.0 - nodes**2)[:, None], np.repeat(nodes[:, None], 16, axis=1)
    points = np.stack([planar * np.cos(angles), planar * np.sin(angles), z], axis=-1).reshape(-1, 3)
    values = harmonics(torch.from_numpy(points))
    exact = torch.einsum("p,pa,pb,pc->abc", torch.from_numpy(np.repeat(weights, 16)), values, values, values)
    exact = torch.where(exact.abs() > 1e-12, exact, 0.0)
    rounded, result = generate_clebsch_gordan_rsh(LMAX).double(), torch.zeros_like(exact)
    for block in itertools.product(_DEGREES, repeat=3):
        size = float((exact[block] ** 2).sum())
        if size > 0.0:
            result[block] = exact[block] * float((exact[block] * rounded[block]).sum()) / size
    return result


_DEGREES = [slice(degree**2, (degree + 1) ** 2) for degree in range(LMAX + 1)]


def _couple(part: Any, coefficients: Tensor) -> None:
    """Give `part` of SO3net these Clebsch-Gordan coefficients in place of its own."""
    part.idx_in_1, part.idx_in_2, part.idx_out = torch.nonzero(coefficients, as_tuple=True)
    part.clebsch_gordan = coefficients[part.idx_in_1, part.idx_in_2, part.idx_out]
    if hasattr(part, "Widx"):
        part.Widx = part.idx_in_1.double().sqrt().long()
