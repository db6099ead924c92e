r"""`Block`: frames of the same atoms as tensors, with everything that does not change during training worked out before.

Forces on the charges are linear in a network's derivatives by potential and field, :math:`F = -J^T g` with
:math:`g = (\partial E/\partial\phi, \partial E/\partial\mathcal{E})`, behind which come those by what is close by, if it is
seen. With the decomposition :math:`J^T = Q R` their squared error is

.. math:: |F + J^T g|^2 = |R g - y|^2 + c, \quad y = -Q^T F, \quad c = |F|^2 - |y|^2,

so training costs the same for ten charges as for ten thousand. Where the network sees charges nearby as atoms, their forces have
a further part; the error of these forces is then computed as it stands, and only the others are reduced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.close import COMPONENTS
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import look
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.training.targets import Targets

Bools = NDArray[np.bool_]

_ALWAYS, _OF_CLOSE = 10, 2
"""Tensors that each `Block` has, and those of what is close by; with charges nearby more come."""


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Tensors of B frames of the same n atoms.

    Attributes
    ----------
    numbers
        Atomic numbers, (n,).
    hashes
        Content hashes of the frames.
    tensors
        In order: positions (B, n, 3), potential (B, n), field (B, n, 3), its gradient (B, n, 3, 3), energy (B,), forces
        (B, n, 3), factor R (B, 4n, 4n), right-hand side y (B, 4n), remainder c (B,), and what is known of energy, forces
        and MM forces (B, 3), 1 or 0. With what is close by also its components (B, n, 6) and their slope (B, n, 6, 3), and 10n in
        place of 4n. With charges nearby also their positions (B, M, 3), charges (B, M), elements (B, M), Jacobian
        (B, 4n, 3M) and forces (B, 3M).
    """

    numbers: tuple[int, ...]
    hashes: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """What a network takes, in its order."""
        close, nearby = further(self.tensors)
        return (*self.tensors[:3], *close[:1], *nearby[:3])

    def to(self, device: torch.device) -> Block:
        """The same on `device`."""
        return Block(self.numbers, self.hashes, tuple(tensor.to(device) for tensor in self.tensors))

    def select(self, indices: Sequence[int] | Tensor) -> Block:
        """The frames at `indices`."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        hashes = tuple(self.hashes[i] for i in index.tolist())
        index = index.to(self.tensors[0].device)
        return Block(self.numbers, hashes, tuple(tensor[index] for tensor in self.tensors))


def further(tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Of the tensors of a `Block`, those of what is close by and of what is nearby: at least one of them is empty."""
    rest = tensors[_ALWAYS:]
    return (rest, ()) if len(rest) == _OF_CLOSE else ((), rest)


def blocks(
    frames: Sequence[Frame],
    wanted: Sequence[Targets],
    references: Floats,
    dtype: torch.dtype,
    potential: PotentialSettings,
) -> list[Block]:
    """Sort frames by their atoms, in order of first appearance.

    Parameters
    ----------
    frames, wanted
        Frames and what is to be learned of them.
    references
        Energies (eV) to subtract, in double precision, one per frame.
    dtype
        Precision of the tensors.
    potential
        Architecture, which says what is seen of the charges.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(tuple(frame.numbers.tolist()), []).append(index)
    return [
        Block(
            numbers,
            tuple(frames[i].hash for i in members),
            _stack(_rows([(frames[i], wanted[i], float(references[i])) for i in members], potential), dtype),
        )
        for numbers, members in groups.items()
    ]


def _rows(entries: Sequence[tuple[Frame, Targets, float]], potential: PotentialSettings) -> list[list[Floats]]:
    """Arrays of each frame, those of what is nearby with equal room in all."""
    seen = [look(frame, potential) for frame, _, _ in entries]
    places = max((len(one.nearby.charges) for one in seen if one.nearby is not None), default=0)
    return [_row(*entry, one, places) for entry, one in zip(entries, seen, strict=True)]


def _row(frame: Frame, wanted: Targets, reference: float, surroundings: Surroundings, places: int) -> list[Floats]:
    near = np.zeros(frame.n_mm, dtype=bool)
    if surroundings.nearby is not None:
        near[surroundings.nearby.sites] = True
    factor, right, rest = _reduce(surroundings, wanted.mm_forces, ~near)
    forces = np.zeros((frame.n_qm, 3)) if wanted.forces is None else wanted.forces
    known = np.array([1.0, float(wanted.forces is not None), float(wanted.mm_forces is not None)])
    positions, potential, field, *_ = surroundings.inputs(frame)
    energy = np.array(wanted.energy - reference)
    row = [positions, potential, field, surroundings.gradient, energy, forces, factor, right, np.array(rest), known]
    if surroundings.close is not None:
        row += [surroundings.close.components, surroundings.close.slope]
    return row + _nearby(surroundings, wanted.mm_forces, places)


def _nearby(surroundings: Surroundings, mm_forces: Floats | None, places: int) -> list[Floats]:
    """Positions, charges, elements, Jacobian and forces of the charges nearby; nothing where the network sees none so."""
    if surroundings.nearby is None:
        return []
    near, size = surroundings.nearby.padded(places), 4 * len(surroundings.potential)
    jacobian, forces = np.zeros((size, places, 3)), np.zeros((places, 3))
    if mm_forces is not None:
        jacobian[:, : len(near.sites)] = surroundings.jacobian.reshape(size, -1, 3)[:, near.sites]
        forces[: len(near.sites)] = mm_forces[near.sites]
    return [near.positions, near.charges, near.numbers.astype(float), jacobian.reshape(size, -1), forces.ravel()]


def _reduce(surroundings: Surroundings, mm_forces: Floats | None, chosen: Bools) -> tuple[Floats, Floats, float]:
    """Factor, right-hand side and remainder of the error of the `chosen` forces on charges."""
    size = len(surroundings.potential) * (4 if surroundings.close is None else 4 + COMPONENTS)
    factor, right = np.zeros((size, size)), np.zeros(size)
    if mm_forces is None or not chosen.any():
        return factor, right, 0.0
    forces = mm_forces[chosen].ravel()
    orthogonal, triangle = np.linalg.qr(surroundings.jacobian[:, :, chosen].reshape(size, -1).T)
    factor[: len(triangle)] = triangle
    right[: len(triangle)] = -orthogonal.T @ forces
    return factor, right, max(float((forces**2).sum() - (right**2).sum()), 0.0)


def _stack(rows: list[list[Floats]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.stack(column)).to(dtype) for column in zip(*rows, strict=True))
