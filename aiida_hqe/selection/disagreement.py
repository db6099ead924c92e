"""Disagreement of a committee: the spread of force *vectors* on QM atoms and point charges, never of their norms.

The norm of a force field over a frame is ``N(F) = sqrt(sum_i |F_i|^2 / n_qm)``, with *i* over QM atoms and point charges:
intensive in the QM region, and indifferent to charges far away, whose forces vanish.
"""

from __future__ import annotations

import numpy as np

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats


def force_norm(forces: Floats, mm_forces: Floats) -> float:
    """Norm N of a force field (eV/angstrom).

    Parameters
    ----------
    forces, mm_forces
        Vectors on QM atoms (n_qm, 3) and on point charges (n_mm, 3), in eV/angstrom.
    """
    return float(np.sqrt((np.square(forces).sum() + np.square(mm_forces).sum()) / len(forces)))


def member_deviations(forces: Floats, mm_forces: Floats) -> Floats:
    """Deviation N(F_k - F_mean) of each member from the mean of the committee, (K,), in eV/angstrom.

    Parameters
    ----------
    forces, mm_forces
        Forces by each of K members on QM atoms (K, n_qm, 3) and on point charges (K, n_mm, 3), in eV/angstrom.

    Raises
    ------
    InputError
        There are fewer than two members, or the shapes do not fit.
    """
    forces, mm_forces = _checked(forces, "forces"), _checked(mm_forces, "mm_forces")
    if len(forces) != len(mm_forces):
        raise InputError(f"forces and mm_forces must be of the same members (got {len(forces)} and {len(mm_forces)})")
    squares = np.square(forces - forces.mean(axis=0)).sum(axis=(1, 2))
    squares += np.square(mm_forces - mm_forces.mean(axis=0)).sum(axis=(1, 2))
    return np.asarray(np.sqrt(squares / forces.shape[1]))


def force_disagreement(forces: Floats, mm_forces: Floats) -> float:
    """Disagreement ``sqrt(sum_k N(F_k - F_mean)^2 / (K - 1))`` in eV/angstrom; parameters as `member_deviations`."""
    deviations = member_deviations(forces, mm_forces)
    return float(np.sqrt(np.square(deviations).sum() / (len(deviations) - 1)))


def energy_disagreement(energies: Floats) -> float:
    """Sample standard deviation of the members' energies (K,), in eV.

    Raises
    ------
    InputError
        There are fewer than two members.
    """
    _require_committee(len(energies))
    return float(np.std(energies, ddof=1))


def per_atom(forces: Floats) -> Floats:
    """Which atom caused it: spread ``sqrt(sum_k |F_ki - F_mean,i|^2 / (K - 1))`` of the force on each atom.

    Parameters
    ----------
    forces
        Forces by each of K members on n atoms, (K, n, 3), in eV/angstrom.

    Returns
    -------
    Floats
        (n,), in eV/angstrom.
    """
    forces = _checked(forces, "forces")
    squares = np.square(forces - forces.mean(axis=0)).sum(axis=(0, 2))
    return np.asarray(np.sqrt(squares / (len(forces) - 1)))


def _checked(forces: Floats, name: str) -> Floats:
    forces = np.asarray(forces, dtype=np.float64)
    if forces.ndim != 3 or forces.shape[2] != 3:
        raise InputError(
            f"{name} must have shape (n_members, n_atoms, 3), got {forces.shape}: stack the members along the first axis"
        )
    _require_committee(len(forces))
    return forces


def _require_committee(n_members: int) -> None:
    if n_members < 2:
        raise InputError(f"a committee of at least two members was expected (got {n_members}): train more members")
