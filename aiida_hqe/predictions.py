"""`Prediction`: what the members of a committee say about one frame. `Residuals`: how far that is from labels."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from aiida_hqe.frames import Floats

Level = Literal["environment", "target"]
"""Level whose forces, or whose energies, are compared."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """Energies (eV) and forces (eV/angstrom) of K members at the two levels, for one frame.

    Attributes
    ----------
    frame
        Content hash of the frame.
    environment_energies, environment_forces, environment_mm_forces
        Environment level: (K,), (K, n_qm, 3), (K, n_mm, 3).
    energies, forces, mm_forces
        Target level, same shapes; equal to the environment level where the committee never learned the target.
    """

    frame: str
    environment_energies: Floats
    environment_forces: Floats
    environment_mm_forces: Floats
    energies: Floats
    forces: Floats
    mm_forces: Floats

    @property
    def n_members(self) -> int:
        """Number K of members."""
        return len(self.energies)

    @property
    def energy(self) -> float:
        """Mean target-level energy (eV)."""
        return float(np.mean(self.energies))

    @property
    def mean_forces(self) -> Floats:
        """Mean target-level forces on the QM atoms, (n_qm, 3)."""
        return self.forces.mean(axis=0)

    @property
    def mean_mm_forces(self) -> Floats:
        """Mean target-level forces on the point charges, (n_mm, 3)."""
        return self.mm_forces.mean(axis=0)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Residuals:
    """How far a committee of K members is from the labels of n frames: all that is asked of it, without its force vectors.

    Attributes
    ----------
    frames
        Content hashes of the frames.
    level, energy_level
        Level whose forces, and whose energies, were compared; no `energy_level` where the labels have no energy.
    force_method
        Method of the cores in the target forces that were compared, where it is not that of the target energies.
    force_errors, disagreements
        N(F_mean - F_label) and spread of the members (`aiida_hqe.selection.disagreement`), (n,), eV/angstrom.
    member_errors
        N(F_k - F_label) of each member, (n, K), eV/angstrom.
    energy_errors, energy_disagreements
        Absolute error of the mean energy, and spread of the members, (n,), eV; empty without `energy_level`.
    energies
        Mean target-level energy, (n,), eV.
    shown_forces, shown_mm_forces
        Mean forces on QM atoms (n_qm, 3) and charges (n_mm, 3) of the first frames, eV/angstrom, for a picture.
    """

    frames: list[str]
    level: Level
    energy_level: Level | None
    force_method: str | None
    force_errors: Floats
    disagreements: Floats
    member_errors: Floats
    energy_errors: Floats
    energy_disagreements: Floats
    energies: Floats
    shown_forces: list[Floats]
    shown_mm_forces: list[Floats]


PER_FRAME = ("force_errors", "disagreements", "member_errors", "energy_errors", "energy_disagreements", "energies")
"""Arrays of `Residuals` that hold a row for each frame."""
