"""`fit`: descent of one network, with a validation fold that decides which state is kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aiida_hqe.errors import ConvergenceError
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.model import Potential
from aiida_hqe.training.batches import Block
from aiida_hqe.training.feed import Feed, feed
from aiida_hqe.training.objective import Objective
from aiida_hqe.training.optimizers import Stepper
from aiida_hqe.training.settings import TrainingSettings

CHECKS = 25
"""How often a training looks at its validation fold."""

RETREATS = 5
"""How often a training goes back to its best state after a step that was not finite."""

Step = dict[str, Any]
"""One line of a history: level, epoch, loss, validation errors."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The best state of a network, on the processor wherever it was trained, and the course of its training."""

    network: Potential
    history: list[Step]
    validation: float


class DivergenceError(ConvergenceError):
    """The loss is not a number; the message names the frames.

    Attributes
    ----------
    best
        The last good fit; its validation loss is infinite where there was none.
    committee
        The member in its last good state, with what it had learned before; ``None`` where there was none.
    """

    def __init__(self, message: str, best: Fit) -> None:
        super().__init__(message, residual=best.validation)
        self.best = best
        self.committee: Committee | None = None


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

    It happens where the network is. A step that is not finite goes back to the best state, at half the learning rate after it.

    Raises
    ------
    DivergenceError
        The loss of a frame is still not finite after `RETREATS` such retreats, or no validation loss was ever finite.
    """
    device = network.scale.device
    training, validation = ([block.to(device) for block in part] for part in (training, validation))
    objective = Objective(network, settings)
    course = _Descent(objective, network, settings)
    feeds = [(block, feed(len(block), settings, seed)) for block in training]
    best = Fit(_with(network, objective, course.parameters), [], math.inf)
    history: list[Step] = []
    every = max(1, epochs // CHECKS)
    for epoch in range(epochs):
        course.set_rate(_rate(settings, epoch / max(epochs - 1, 1)))
        losses = [loss for block, source in feeds for loss in course.epoch(block, source, best)]
        if (epoch + 1) % every == 0 or epoch + 1 == epochs:
            now = _validate(objective, course.parameters, validation)
            mean = float(np.mean(losses)) if losses else None
            history.append({"epoch": epoch + 1, "loss": mean, "rate": course.rate, **now})
            if now["validation"] < best.validation:
                best = Fit(_with(network, objective, course.parameters), history, now["validation"])
            if progress is not None:
                progress(epoch + 1, epochs)
    best = dataclasses.replace(best, history=history)
    if not math.isfinite(best.validation):
        raise DivergenceError(
            "a finite validation loss was expected (got none in any check): lower the learning rate", best
        )
    return best


class _Descent:
    """Parameters on their way down, and how often they had to be taken back."""

    def __init__(self, objective: Objective, network: Potential, settings: TrainingSettings) -> None:
        self.rate = settings.learning_rate
        self._objective, self._settings, self._retreats = objective, settings, 0
        self._stepper = Stepper(objective.flatten(network), settings, self.rate)

    @property
    def parameters(self) -> Tensor:
        """Parameters (P,) as they are now."""
        return self._stepper.parameters

    def set_rate(self, rate: float) -> None:
        """Learning rate of the next epoch, halved for every retreat so far."""
        self.rate = rate * 0.5**self._retreats
        self._stepper.set_rate(self.rate)

    def epoch(self, block: Block, source: Feed, best: Fit) -> list[float]:
        """Go through one epoch of a block; mean losses of its batches."""
        losses = []
        for indices in source.epoch():
            batch = block.select(indices)
            loss, gradient = self._objective.loss_and_gradient(self.parameters, batch)
            if not _is_finite(loss, gradient):
                self._retreat(loss, batch, best)
                continue
            self._stepper.step(gradient)
            source.learn(indices, loss.tolist())
            losses.append(float(loss.mean()))
        return losses

    def _retreat(self, loss: Tensor, batch: Block, best: Fit) -> None:
        self._retreats += 1
        if self._retreats > RETREATS:
            raise _divergence(loss, batch, best)
        start = self._objective.flatten(best.network).to(self.parameters.device)
        self._stepper = Stepper(start, self._settings, 0.5**self._retreats * self.rate)


def _rate(settings: TrainingSettings, part: float) -> float:
    first, last = settings.learning_rate, settings.final_learning_rate
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * part))


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
    state = network.state_dict() | objective.unflatten(flat.detach().clone())
    kept.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
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
