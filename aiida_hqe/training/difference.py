r"""The difference of two levels, as a linear function of what the lower level's network knows.

.. math:: \Delta E = \sum_z n_z \delta_z + w \cdot \sum_i h_i(R; \phi, \mathcal{E}) + u \cdot \sum_i h_i \bar\phi_i

with the scalar features :math:`h_i` of the trained environment network: as the network itself, the other level has energies
of atoms, and latent charges that act on the potential and whose differences :math:`u \cdot h_i` sum to zero. So the response to
the surroundings is there however little of it the features hold. Networks without latent charges go without u.

Ridge regression finds w and u in closed form from target energies, and from target forces where labels have them. Each part is
measured by its own size, so that units and the scale of features do not matter; the strength is the largest that is no worse,
within uncertainty, than the best when frames are left out one at a time. References of energy :math:`\delta_z` are fitted to all
frames before, so that where energies alone are fewer than the weights, the weakest ridge is always the best by that measure.
Labels of an accurate level are few and the difference is smooth: a second network trained on the energies alone learns noise,
while these features have been taught what bends and stretches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch.func import jacrev

from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.potentials.member import Network, fit_references
from aiida_hqe.potentials.model import Potential
from aiida_hqe.potentials.stack import look
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import Targets

STRENGTHS = np.logspace(-3, 2, 11)
"""Ridge parameters tried, in units of the mean eigenvalue of the normal matrix, for energies and charges each its own."""


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
    known = np.array([index for index in range(len(frames)) if index not in held])
    equations = _equations(potential, frames, wanted, settings)
    strength, weights = _ridge(equations, known, potential.settings.features)
    left = equations.energies - equations.descriptors @ weights
    references = fit_references([frames[index].numbers for index in known], left[known])
    loss, validation = (equations.losses(weights, known, part).mean() for part in (known, np.array(sorted(held))))
    network = Network({"weight": torch.from_numpy(weights)}, references, wanted[0].forces is not None)
    return Difference(network, strength, float(loss), float(validation))


@dataclasses.dataclass(frozen=True, eq=False)
class _Equations:
    """What the weights (D,) shall satisfy for each of N frames; references of energy are fitted to those that are `known`.

    Attributes
    ----------
    counts
        Atoms of each element (N, elements).
    descriptors, energies, factors
        Descriptors (N, D), energies (N,) and what errors of energies are multiplied with (N,).
    forces
        Weighted design (rows, D) and right-hand side (rows,) of each frame's forces.
    """

    counts: Floats
    descriptors: Floats
    energies: Floats
    factors: Floats
    forces: list[tuple[Floats, Floats]]

    def of_energies(self, known: Ints) -> tuple[Floats, Floats]:
        """Weighted design (N, D) and right-hand side (N,) of the energies, less what references explain."""
        both = np.column_stack([self.descriptors, self.energies])
        explained = self.counts @ np.linalg.lstsq(self.counts[known], both[known], rcond=None)[0]
        left = self.factors[:, None] * (both - explained)
        return left[:, :-1], left[:, -1]

    def of_forces(self, frames: Ints) -> Floats:
        """Normal matrix (D, D) of the forces of some frames, and behind it the products with the right-hand sides (D, 1)."""
        size = self.descriptors.shape[1]
        chosen = [self.forces[index] for index in frames]
        return sum((x.T @ np.column_stack([x, y]) for x, y in chosen), start=np.zeros((size, size + 1)))

    def losses(self, weights: Floats, known: Ints, frames: Ints) -> Floats:
        """Squared errors of some frames."""
        design, right = (array[frames] for array in self.of_energies(known))
        forces = [((x @ weights - y) ** 2).sum() for x, y in (self.forces[index] for index in frames)]
        losses: Floats = (design @ weights - right) ** 2 + np.array(forces)
        return losses


def _equations(
    potential: Potential, frames: Sequence[Frame], wanted: Sequence[Targets], settings: TrainingSettings
) -> _Equations:
    rows = [_rows(potential, frame, want, settings) for frame, want in zip(frames, wanted, strict=True)]
    elements = sorted({int(number) for frame in frames for number in frame.numbers})
    return _Equations(
        counts=np.array([[np.count_nonzero(frame.numbers == z) for z in elements] for frame in frames], dtype=float),
        descriptors=np.array([row[0] for row in rows]),
        energies=np.array([want.energy for want in wanted]),
        factors=np.array([np.sqrt(settings.weight_energy) / frame.n_qm for frame in frames]),
        forces=[row[1:] for row in rows],
    )


def _rows(
    potential: Potential, frame: Frame, want: Targets, settings: TrainingSettings
) -> tuple[Floats, Floats, Floats]:
    """Descriptors (D,), and weighted design (rows, D) and right-hand side (rows,) of the forces that are known."""
    surroundings, device = look(frame, potential.settings), potential.scale.device
    atoms = torch.tensor(frame.numbers, device=device)
    inputs = tuple(torch.tensor(array, device=device) for array in surroundings.inputs(frame))
    near = surroundings.nearby
    elements = [] if near is None else [torch.tensor(near.numbers, device=device)]

    def descriptors(*inputs: torch.Tensor) -> torch.Tensor:
        return potential.with_descriptors(atoms, *(tensor[None] for tensor in (*inputs, *elements)))[1][0]

    values = descriptors(*inputs).detach().cpu().numpy()
    design, right = [np.zeros((0, len(values)))], [np.zeros(0)]
    if want.forces is not None:
        jacobians = tuple(
            tensor.detach().cpu().numpy() for tensor in jacrev(descriptors, argnums=tuple(range(len(inputs))))(*inputs)
        )
        scale = np.sqrt(settings.weight_forces / (3 * frame.n_qm))
        design.append(scale * surroundings.qm_forces(*jacobians).reshape(len(values), -1).T)
        right.append(scale * want.forces.ravel())
        if want.mm_forces is not None:
            scale = np.sqrt(settings.weight_mm_forces / (3 * frame.n_qm))
            design.append(scale * surroundings.mm_forces(*jacobians[1:]).reshape(len(values), -1).T)
            right.append(scale * want.mm_forces.ravel())
    return values, np.concatenate(design), np.concatenate(right)


def _ridge(equations: _Equations, known: Ints, features: int) -> tuple[float, Floats]:
    """Strength and weights from the `known` frames; weights come in parts of as many as there are `features`."""
    forces = equations.of_forces(known)
    total, product = _normal(equations, known, known, forces)
    sizes = np.diag(total).reshape(-1, features).mean(axis=1)
    if not sizes.any():
        return float(STRENGTHS[-1]), np.zeros(len(product))
    unit = np.diag(np.repeat(np.where(sizes > 0.0, sizes, 1.0), features))
    errors = []
    for left_out in known[:, None]:
        others = np.setdiff1d(known, left_out)
        matrix, right = _normal(equations, known, others, forces - equations.of_forces(left_out))
        found = (np.linalg.solve(matrix + strength * unit, right) for strength in STRENGTHS)
        errors.append([float(equations.losses(weights, known, left_out)[0]) for weights in found])
    best = float(STRENGTHS[_simplest(np.array(errors).T)])
    return best, np.asarray(np.linalg.solve(total + best * unit, product), dtype=np.float64)


def _normal(equations: _Equations, known: Ints, frames: Ints, forces: Floats) -> tuple[Floats, Floats]:
    """Normal matrix (D, D) and right-hand side (D,) of the energies of some of the `known` frames, and of `forces`."""
    design, right = (array[frames] for array in equations.of_energies(known))
    return design.T @ design + forces[:, :-1], design.T @ right + forces[:, -1]


def _simplest(errors: Floats) -> int:
    """Index of the strongest ridge whose mean error (over columns) is within one standard error of the smallest."""
    means = errors.mean(axis=1)
    lowest = int(means.argmin())
    uncertainty = errors[lowest].std() / np.sqrt(errors.shape[1])
    return int(np.flatnonzero(means <= means[lowest] + uncertainty).max())
