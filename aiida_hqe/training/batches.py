r"""`Block`: frames of the same atoms as tensors, with everything that does not change during training worked out before.

Forces on the charges are linear in a network's derivatives by potential and field, :math:`F = -J^T g` with
:math:`g = (\partial E/\partial\phi, \partial E/\partial\mathcal{E})`. With the decomposition :math:`J^T = Q R` their
squared error is

.. math:: |F + J^T g|^2 = |R g - y|^2 + c, \quad y = -Q^T F, \quad c = |F|^2 - |y|^2,

so training costs the same for ten charges as for ten thousand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.training.targets import Targets


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
        and MM forces (B, 3), 1 or 0.
    """

    numbers: tuple[int, ...]
    hashes: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.hashes)

    def select(self, indices: Sequence[int] | Tensor) -> Block:
        """The frames at `indices`."""
        index = torch.as_tensor(indices, dtype=torch.int64)
        hashes = tuple(self.hashes[i] for i in index.tolist())
        return Block(self.numbers, hashes, tuple(tensor[index] for tensor in self.tensors))


def blocks(frames: Sequence[Frame], wanted: Sequence[Targets], references: Floats, dtype: torch.dtype) -> list[Block]:
    """Sort frames by their atoms, in order of first appearance.

    Parameters
    ----------
    frames, wanted
        Frames and what is to be learned of them.
    references
        Energies (eV) to subtract, in double precision, one per frame.
    dtype
        Precision of the tensors.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, frame in enumerate(frames):
        groups.setdefault(tuple(frame.numbers.tolist()), []).append(index)
    return [
        Block(
            numbers,
            tuple(frames[i].hash for i in members),
            _stack([_row(frames[i], wanted[i], float(references[i])) for i in members], dtype),
        )
        for numbers, members in groups.items()
    ]


def _row(frame: Frame, wanted: Targets, reference: float) -> list[Floats]:
    surroundings = Surroundings.of(frame)
    factor, right, rest = _reduce(surroundings, wanted.mm_forces)
    forces = np.zeros((frame.n_qm, 3)) if wanted.forces is None else wanted.forces
    known = np.array([1.0, float(wanted.forces is not None), float(wanted.mm_forces is not None)])
    return [
        frame.positions - frame.positions.mean(axis=0),
        surroundings.potential,
        surroundings.field,
        surroundings.gradient,
        np.array(wanted.energy - reference),
        forces,
        factor,
        right,
        np.array(rest),
        known,
    ]


def _reduce(surroundings: Surroundings, mm_forces: Floats | None) -> tuple[Floats, Floats, float]:
    size = 4 * len(surroundings.potential)
    factor, right = np.zeros((size, size)), np.zeros(size)
    if mm_forces is None or mm_forces.size == 0:
        return factor, right, 0.0
    orthogonal, triangle = np.linalg.qr(surroundings.jacobian.reshape(size, mm_forces.size).T)
    factor[: len(triangle)] = triangle
    right[: len(triangle)] = -orthogonal.T @ mm_forces.ravel()
    return factor, right, max(float((mm_forces**2).sum() - (right**2).sum()), 0.0)


def _stack(rows: list[list[Floats]], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(np.stack(column)).to(dtype) for column in zip(*rows, strict=True))
