"""Projectors: how the orbitals of a core are kept orthogonal to the occupied orbitals of its environment.

All act in the basis of the Kohn-Sham orbitals, ordered core, virtual, environment (B). There the exact Huzinaga operator
``F - F P_B - P_B F`` decouples the environment's block from the rest, so that the embedded orbitals are those of ``F`` in the
complement of the environment; the Fermi-shifted one differs in the energies it gives the environment's orbitals alone.

Sources: S. Huzinaga, A. A. Cantu, J. Chem. Phys. 1971, 55, 5543, doi:10.1063/1.1675720; B. Hegely et al., J. Chem. Phys.
2016, 145, 064107, doi:10.1063/1.4960177; F. R. Manby et al., J. Chem. Theory Comput. 2012, 8, 2564, doi:10.1021/ct300544e.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.level import LevelShift
from aiida_hqe.embedding.partition import Partition
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Projector:
    """Projector of one spin channel.

    Attributes
    ----------
    basis
        Orthonormal orbitals (n_ao, n_basis): core, virtual, environment; without the last in the Huzinaga limit.
    n_environment
        Number of environment orbitals at the end of `basis`.
    shift
        Energy (hartree) added to them; ``None`` for the Fermi-shifted Huzinaga operator.
    """

    basis: Floats
    n_environment: int
    shift: float | None = None

    def project(self, fock: Floats) -> Floats:
        """Projected Fock matrix in `basis`, from that in atomic orbitals."""
        F = self.basis.T @ fock @ self.basis
        if not self.n_environment:
            return F
        outside = slice(len(F) - self.n_environment, None)
        if self.shift is not None:
            F[outside, outside] += self.shift * np.eye(self.n_environment)
            return F
        fermi = float(np.diag(F)[outside].max())
        F[outside, outside] = 2 * fermi * np.eye(self.n_environment) - F[outside, outside]
        F[outside, : -self.n_environment] = F[: -self.n_environment, outside] = 0.0
        return F

    def diagonalise(self, projected: Floats) -> tuple[Floats, Floats]:
        """Energies (n,) and orbitals (n_basis, n) of the core: occupied and virtual, without the environment's."""
        energies, U = np.linalg.eigh(projected)
        if not self.n_environment:
            return energies, U
        outside = np.sum(U[-self.n_environment :] ** 2, axis=0)
        inside = np.sort(np.argsort(outside, kind="stable")[: len(U) - self.n_environment])
        return energies[inside], U[:, inside]


def projectors(state: EnvironmentState, partition: Partition, kind: str | LevelShift) -> list[Projector]:
    """The projector of each spin channel."""
    found = []
    for spin, (C_A, C_B) in enumerate(zip(partition.core, partition.environment, strict=True)):
        inside = np.hstack([C_A, state.virtual(spin)])
        if kind == "huzinaga" or not C_B.shape[1]:
            found.append(Projector(inside, 0))
            continue
        shift = kind.level_shift if isinstance(kind, LevelShift) else None
        found.append(Projector(np.hstack([inside, C_B]), C_B.shape[1], shift))
    return found
