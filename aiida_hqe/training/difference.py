r"""The difference of two levels, as a linear function of what the lower level's network knows.

.. math:: \Delta E = \sum_z n_z \delta_z + w \cdot \sum_i h_i(R; \phi, \mathcal{E})

with the scalar features :math:`h_i` of the trained environment network. Ridge regression finds w in closed form from target
energies, and from target forces where labels have them; its strength is the largest that is no worse, within uncertainty,
than the best when frames are left out one at a time. Labels of an accurate level are few and the difference is smooth: a
second network trained on the energies alone learns noise, while these features have been taught what bends and stretches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch.func import jacrev

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.member import Network, fit_references
from aiida_hqe.potentials.model import Potential
from aiida_hqe.potentials.stack import reach
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import Targets

STRENGTHS = np.logspace(-3, 2, 11)
"""Ridge parameters tried, in units of the mean eigenvalue of the normal matrix."""


@dataclasses.dataclass(frozen=True, eq=False)
class Difference:
    """Result: the network entry of the target level, the ridge parameter and root mean square errors per frame's loss."""

    network: Network
    strength: float
    loss: float
    validation: float


def fit_difference(
    potential: Potential, frames: Sequence[Frame], wanted: Sequence[Targets], held: set[int], settings: TrainingSettings
) -> Difference:
    """Fit the difference on the frames that are not held; report the loss on those that are.

    Parameters
    ----------
    potential
        Trained network of the lower level.
    frames, wanted
        Frames and their target minus environment labels.
    held
        Indices of the frames of the validation fold.
    settings
        Weights of energies and forces in the loss.
    """
    potential = potential.double().eval()
    chosen = [index for index in range(len(frames)) if index not in held]
    rows = [_rows(potential, frame, want, settings) for frame, want in zip(frames, wanted, strict=True)]
    energies = np.array([want.energy for want in wanted])
    descriptors = np.array([row[0] for row in rows])
    atoms = [frames[index].numbers for index in chosen]
    centres = [fit_references(atoms, column[chosen]) for column in descriptors.T]
    mean = fit_references(atoms, energies[chosen])
    blocks = []
    for frame, (descriptor, design, right), energy in zip(frames, rows, energies, strict=True):
        x = descriptor - [_sum(centre, frame) for centre in centres]
        weight = np.sqrt(settings.weight_energy) / frame.n_qm
        blocks.append((np.vstack([weight * x, design]), np.append(weight * (energy - _sum(mean, frame)), right)))
    strength, weights = _ridge([blocks[index] for index in chosen])
    references = {z: mean[z] - float(sum(w * c[z] for w, c in zip(weights, centres, strict=True))) for z in mean}
    losses = np.array([((x @ weights - y) ** 2).sum() for x, y in blocks])
    network = Network({"weight": torch.from_numpy(weights)}, references, wanted[0].forces is not None)
    return Difference(network, strength, float(losses[chosen].mean()), float(losses[sorted(held)].mean()))


def _sum(references: dict[int, float], frame: Frame) -> float:
    return sum(references.get(int(number), 0.0) for number in frame.numbers)


def _rows(
    potential: Potential, frame: Frame, want: Targets, settings: TrainingSettings
) -> tuple[Floats, Floats, Floats]:
    """Descriptors (F,), and weighted design (rows, F) and right-hand side (rows,) of the forces that are known."""
    surroundings, atoms = Surroundings.of(frame, reach(potential.settings)), torch.from_numpy(frame.numbers.copy())
    inputs = tuple(torch.from_numpy(array) for array in surroundings.inputs(frame))
    near = surroundings.nearby
    elements = [] if near is None else [torch.from_numpy(near.numbers.copy())]

    def descriptors(*inputs: torch.Tensor) -> torch.Tensor:
        return potential.with_descriptors(atoms, *(tensor[None] for tensor in (*inputs, *elements)))[1][0]

    values = descriptors(*inputs).detach().numpy()
    design, right = [np.zeros((0, len(values)))], [np.zeros(0)]
    if want.forces is not None:
        jacobians = tuple(
            tensor.detach().numpy() for tensor in jacrev(descriptors, argnums=tuple(range(len(inputs))))(*inputs)
        )
        scale = np.sqrt(settings.weight_forces / (3 * frame.n_qm))
        design.append(scale * surroundings.qm_forces(*jacobians).reshape(len(values), -1).T)
        right.append(scale * want.forces.ravel())
        if want.mm_forces is not None:
            scale = np.sqrt(settings.weight_mm_forces / (3 * frame.n_qm))
            design.append(scale * surroundings.mm_forces(*jacobians[1:]).reshape(len(values), -1).T)
            right.append(scale * want.mm_forces.ravel())
    return values, np.concatenate(design), np.concatenate(right)


def _ridge(blocks: list[tuple[Floats, Floats]]) -> tuple[float, Floats]:
    """Strength and weights; the strength minimises the squared error of frames left out one at a time."""
    squares = np.array([x.T @ x for x, _ in blocks])
    products = np.array([x.T @ y for x, y in blocks])
    total, product = squares.sum(axis=0), products.sum(axis=0)
    unit = np.trace(total) / len(total) * np.eye(len(total))
    if not unit.any():
        return float(STRENGTHS[-1]), np.zeros(len(product))
    errors = []
    for strength in STRENGTHS:
        without = np.linalg.solve(total - squares + strength * unit, (product - products)[..., None])[..., 0]
        errors.append([float(((x @ w - y) ** 2).sum()) for (x, y), w in zip(blocks, without, strict=True)])
    best = float(STRENGTHS[_simplest(np.array(errors))])
    return best, np.linalg.solve(total + best * unit, product)


def _simplest(errors: Floats) -> int:
    """Index of the strongest ridge whose mean error (over columns) is within one standard error of the smallest."""
    means = errors.mean(axis=1)
    lowest = int(means.argmin())
    uncertainty = errors[lowest].std() / np.sqrt(errors.shape[1])
    return int(np.flatnonzero(means <= means[lowest] + uncertainty).max())
