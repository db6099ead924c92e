"""`Prediction`: what the members of a committee say about one frame; a batch of them in HDF5."""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.frames import Floats


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
