r"""Which frames an epoch of training sees: all of them, or those that still teach something.

Adaptive selection follows the idea of lifelong machine-learning potentials (M. Eckhoff, M. Reiher, JCTC 2023, 19, 3509,
doi:10.1021/acs.jctc.3c00279): a training that goes on with new data need not go through all the old data again, but must not
forget it. Every epoch sees a fraction of the frames, drawn without replacement by probabilities that follow their latest losses,

.. math:: p_f \propto \min(\max((l_f / \bar l)^{1/2}, 1/c), c), \quad c = 10,

with the mean loss of all frames; those that have not been seen yet come first. So new frames and those that are about to be
forgotten are trained on often, and the others are replayed now and then, never less than 1/c times as often as average ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from aiida_hqe.frames import Floats, Ints
from aiida_hqe.training.settings import TrainingSettings

CONTRAST = 10.0
"""How much rarer or more frequent than an average frame another one can become."""


class Feed(Protocol):
    """Chooses frames of a block, epoch after epoch."""

    def epoch(self) -> Iterator[list[int]]:
        """Indices of the frames of each batch, all batches full."""

    def learn(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Take note of losses of frames."""


class Everything:
    """All frames in random order, the last batch filled from the start of the permutation."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._count, self._size = count, min(size, count)

    def epoch(self) -> Iterator[list[int]]:
        """See `Feed`."""
        yield from _batches(self._generator.permutation(self._count), self._size)

    def learn(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Nothing to note."""


class Adaptive:
    """A fraction of the frames, mostly those with large losses.

    Parameters
    ----------
    count, size
        Number of frames, and of those in a batch.
    seed
        Of all random choices.
    fraction
        Of the frames in each epoch.
    """

    def __init__(self, count: int, size: int, seed: int, fraction: float) -> None:
        self._generator = np.random.default_rng(seed)
        self._losses = np.full(count, np.nan)
        self._chosen = max(1, math.ceil(fraction * count))
        self._size = min(size, self._chosen)

    def epoch(self) -> Iterator[list[int]]:
        """See `Feed`."""
        keys = np.log(self.weights()) + self._generator.gumbel(size=len(self._losses))
        yield from _batches(np.argsort(-keys)[: self._chosen], self._size)

    def learn(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """See `Feed`."""
        self._losses[list(indices)] = losses

    def weights(self) -> Floats:
        """Relative probabilities (count,) of being drawn."""
        seen = np.isfinite(self._losses)
        weights = np.full(len(seen), np.inf)
        if seen.any():
            mean = max(float(self._losses[seen].mean()), 1e-300)
            weights[seen] = np.clip(np.sqrt(self._losses[seen] / mean), 1.0 / CONTRAST, CONTRAST)
        return np.where(seen, weights, 1e6)


def feed(count: int, settings: TrainingSettings, seed: int) -> Feed:
    """The feed that the settings ask for."""
    if settings.data == "adaptive":
        return Adaptive(count, settings.batch_size, seed, settings.data_fraction)
    return Everything(count, settings.batch_size, seed)


def _batches(order: Ints, size: int) -> Iterator[list[int]]:
    filled = np.resize(order, math.ceil(len(order) / size) * size)
    yield from filled.reshape(-1, size).tolist()
