"""Alignment of orbitals with the localized ones of another configuration, by their populations.

Where a molecule has several sets of localized orbitals (the two of a benzene ring), which one a localization finds may change
from one configuration to the next for no reason. From orbitals that are aligned with a reference it finds the same one.

After M. Bensberg, J. Neugebauer, J. Chem. Theory Comput. 2020, 16, 3607, doi:10.1021/acs.jctc.0c00037.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from aiida_hqe.embedding.localization import rotate
from aiida_hqe.frames import Floats, Ints

MAX_SWEEPS = 30
"""Sweeps of two-by-two rotations: an alignment is a guess, and need not be tight."""

TOLERANCE = 1e-3
"""Largest angle (rad) of a converged sweep."""

ANGLES = np.linspace(-np.pi / 2, np.pi / 2, 120, endpoint=False)
"""Angles (rad) among which the best turn of two orbitals is looked for before it is refined."""


def align(charges: Floats, reference: Floats) -> Floats:
    """Rotation (n, n) of orbitals that makes their populations most like those of a reference.

    Parameters
    ----------
    charges
        ``Q^s_ij``, populations of the orbitals on each shell (n_shells, n, n).
    reference
        Populations of the reference orbitals (n, n_shells).

    Returns
    -------
    U : array (n, n)
        Orthogonal; column i is the partner of reference orbital i. It makes ``sum_i sum_s (Q^s_ii - reference_is)^2`` small.
    """
    order = match(np.diagonal(charges, axis1=1, axis2=2).T, reference)
    U = np.eye(len(reference))[:, order]
    Q = charges[:, order][:, :, order].copy()
    for _ in range(MAX_SWEEPS):
        turns = [_turn(Q, U, reference, i, j) for i in range(len(reference)) for j in range(i)]
        if max(turns, default=0.0) < TOLERANCE:
            break
    return U


def match(populations: Floats, reference: Floats) -> Ints:
    """For each reference orbital the one whose populations are closest, every orbital taken once (n,)."""
    distances = np.abs(reference[:, None] - populations[None]).sum(axis=2)
    return np.asarray(linear_sum_assignment(distances)[1])


def _turn(Q: Floats, U: Floats, reference: Floats, i: int, j: int) -> float:
    """Turn orbitals i and j in place to where they fit the reference best; returns the angle."""
    half, off = (Q[:, i, i] - Q[:, j, j]) / 2, Q[:, i, j]
    angle = _angle(half, off, (reference[i] - reference[j]) / 2)
    rotate(Q, U, i, j, angle)
    return abs(angle)


def _angle(half: Floats, off: Floats, wanted: Floats) -> float:
    """Angle t that minimises ``|u - wanted|^2`` with ``u = half cos 2t + off sin 2t``, the nearest to zero of equal ones."""

    def misfit(t: Floats) -> Floats:
        u = np.outer(np.cos(2 * t), half) + np.outer(np.sin(2 * t), off)
        return np.asarray(((u - wanted) ** 2).sum(axis=1))

    errors = misfit(ANGLES)
    here = float(misfit(np.zeros(1))[0])
    best = float(ANGLES[errors.argmin()])
    t = best if errors.min() < here - 1e-12 else 0.0
    for _ in range(8):
        u, du = half * np.cos(2 * t) + off * np.sin(2 * t), 2 * (off * np.cos(2 * t) - half * np.sin(2 * t))
        slope, curvature = float((u - wanted) @ du), float(du @ du - 4 * u @ (u - wanted))
        if curvature <= 1e-14:
            break
        t -= slope / curvature
    return t if misfit(np.array([t]))[0] < here - 1e-14 else 0.0
