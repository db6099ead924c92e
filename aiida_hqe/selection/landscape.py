"""The landscape of configurations: frames of several rounds on one plane, the two main axes of their descriptors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.selection.diversity import descriptors


@dataclasses.dataclass(frozen=True, eq=False)
class Landscape:
    """Where frames lie among all frames seen.

    Attributes
    ----------
    places
        For each batch, the coordinates of its frames on the two main axes, (n, 2); no unit.
    explained
        Fraction of the variance of the descriptors along each axis.
    """

    places: list[Floats]
    explained: tuple[float, float]


def landscape(batches: Sequence[Sequence[Frame]]) -> Landscape | None:
    """Principal components of the descriptors by which the selection measures diversity (`aiida_hqe.selection.diversity`).

    Returns ``None`` for fewer than three frames, which no plane needs.
    """
    sizes = [len(batch) for batch in batches]
    if sum(sizes) < 3:
        return None
    points, _ = descriptors([frame for batch in batches for frame in batch])
    padded = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    axes = PCA(n_components=2, svd_solver="full")
    with np.errstate(invalid="ignore"):
        found = axes.fit_transform(padded)
    first, second = np.nan_to_num(axes.explained_variance_ratio_).tolist()
    return Landscape(np.split(found, np.cumsum(sizes)[:-1]), (first, second))
