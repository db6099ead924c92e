"""`fit`: Adam on one network, with a validation fold that decides which state is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiida_hqe.errors import ConvergenceError
from aiida_hqe.potentials.model import Potential
from aiida_hqe.training.batches import Block
from aiida_hqe.training.objective import Objective
from aiida_hqe.training.settings import TrainingSettings

CHECKS = 25
"""How often a training looks at its validation fold."""

RETREATS = 5
"""How often a training goes back to its best state after a step that was not finite."""

Step = dict[str, Any]
"""One line of a history: level, epoch, loss, validation errors."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The best state of a network, and the course of its training."""

    network: Potential
    history: list[Step]
    validation: float


class DivergenceError(ConvergenceError):
    """The loss is not a number; `best` is the last good fit, and the message names the frames."""

    def __init__(self, message: str, best: Fit) -> None:
        super().__init__(message, residual=best.validation)
        self.best = best


def fit(
    network: Potential,
    training: Sequence[Block],
    validation: Sequence[Block],
    settings: TrainingSettings,
    *,
    epochs: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Minimise the objective; learning rate on half a cosine, gradient clipped, best validation loss kept.

    A step that is not finite goes back to the best state, at half the learning rate from there on.

    Raises
    ------
    DivergenceError
        The loss of a frame is still not finite after `RETREATS` such retreats.
    """
    objective = Objective(network, settings)
    flat = objective.flatten(network).requires_grad_()
    adam = torch.optim.Adam([flat], lr=settings.learning_rate)
    retreats = 0
    batches = [list(_batches(block, settings.batch_size, epochs, seed)) for block in training]
    best = Fit(_with(network, objective, flat), [], math.inf)
    history: list[Step] = []
    every = max(1, epochs // CHECKS)
    for epoch in range(epochs):
        rate = _rate(settings, epoch / max(epochs - 1, 1)) * 0.5**retreats
        adam.param_groups[0]["lr"] = rate
        losses = []
        for batch in (batch for course in batches for batch in course[epoch]):
            loss, gradient = objective.loss_and_gradient(flat.detach(), batch)
            if not _is_finite(loss, gradient):
                retreats += 1
                if retreats > RETREATS:
                    raise _divergence(loss, batch, best)
                flat = objective.flatten(best.network).requires_grad_()
                adam = torch.optim.Adam([flat], lr=0.5**retreats * rate)
                continue
            norm = float(gradient.norm())
            flat.grad = gradient * min(1.0, settings.gradient_clip / max(norm, 1e-12))
            adam.step()
            losses.append(float(loss.mean()))
        if (epoch + 1) % every == 0 or epoch + 1 == epochs:
            now = _validate(objective, flat.detach(), validation)
            history.append(
                {"epoch": epoch + 1, "loss": float(np.mean(losses)) if losses else None, "rate": rate, **now}
            )
            if now["validation"] < best.validation:
                best = Fit(_with(network, objective, flat), history, now["validation"])
            if progress is not None:
                progress(epoch + 1, epochs)
    return dataclasses.replace(best, history=history)


def _rate(settings: TrainingSettings, part: float) -> float:
    first, last = settings.learning_rate, settings.final_learning_rate
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * part))


def _batches(block: Block, size: int, epochs: int, seed: int) -> Iterator[list[Block]]:
    """Batches of each epoch, all full: the last one is filled from the start of the permutation."""
    generator = np.random.default_rng(seed)
    size = min(size, len(block))
    for _ in range(epochs):
        order = generator.permutation(len(block))
        filled = np.resize(order, math.ceil(len(block) / size) * size)
        yield [block.select(part.tolist()) for part in filled.reshape(-1, size)]


def _validate(objective: Objective, flat: Tensor, validation: Sequence[Block]) -> dict[str, float]:
    results = [objective.errors(flat, block) for block in validation]
    loss = float(torch.cat([losses for losses, _ in results]).mean())
    energy, forces, mm_forces = torch.cat([squares for _, squares in results]).mean(0).sqrt().tolist()
    return {
        "validation": loss if math.isfinite(loss) else math.inf,
        "energy_per_atom": energy,
        "force_component": forces,
        "mm_force_norm": mm_forces,
    }


def _with(network: Potential, objective: Objective, flat: Tensor) -> Potential:
    kept = Potential(network.settings, int(network.charge)).to(flat.dtype)
    kept.load_state_dict(network.state_dict() | objective.unflatten(flat.detach().clone()))
    return kept


def _is_finite(losses: Tensor, gradient: Tensor) -> bool:
    return bool(torch.isfinite(losses).all()) and bool(torch.isfinite(gradient).all())


def _divergence(losses: Tensor, batch: Block, best: Fit) -> DivergenceError:
    bad = [name[:12] for name, loss in zip(batch.hashes, losses.tolist(), strict=True) if not math.isfinite(loss)]
    return DivergenceError(
        f"a finite loss was expected (got NaN or infinity on frames {', '.join(bad or [n[:12] for n in batch.hashes])}):"
        " remove or repair them, or lower the learning rate",
        best,
    )
