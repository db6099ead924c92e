"""Direct inversion in the iterative subspace, by least squares, so that it converges down to round-off.

P. Pulay, Chem. Phys. Lett. 1980, 73, 393, doi:10.1016/0009-2614(80)80396-4. The normal equations of that paper square the
condition number: near convergence they stagnate at about 1e-9 of the first error, which least squares do not.
"""

from __future__ import annotations

import numpy as np

from aiida_hqe.frames import Floats

SPACE = 8
"""Number of cycles that are remembered."""

DEPENDENT = 1e-10
"""Directions whose singular value is below this fraction of the largest are left out."""


class Extrapolation:
    """Extrapolates a vector to where its error, taken as linear, vanishes."""

    def __init__(self) -> None:
        self._vectors: list[Floats] = []
        self._errors: list[Floats] = []

    def update(self, vector: Floats, error: Floats) -> Floats:
        """Add a vector (n,) with its error (m,); returns the extrapolated vector (n,)."""
        self._vectors = [*self._vectors[1 - SPACE :], vector]
        self._errors = [*self._errors[1 - SPACE :], error]
        if len(self._errors) == 1:
            return vector
        steps = np.array(self._errors[:-1]) - error
        lengths = np.linalg.norm(steps, axis=1)
        steps, moves = steps[lengths > 0], (np.array(self._vectors[:-1]) - vector)[lengths > 0]
        lengths = lengths[lengths > 0]
        weights = np.linalg.lstsq((steps / lengths[:, None]).T, -error, rcond=DEPENDENT)[0] / lengths
        return vector + weights @ moves
