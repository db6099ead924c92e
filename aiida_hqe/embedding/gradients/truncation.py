"""Response of a virtual space truncated by concentric localization: how its shells follow the orbitals and the atoms.

The first shell is what the functions of the core atoms span, so that all later orbitals r are orthogonal to these functions,
``C_r^T S_A = 0``; each next shell s is what the Fock matrix couples to the one before, so that nothing beyond s couples to it,
``F_(s-1),r = 0``. Each condition has a multiplier, and the last shell's comes first: both have closed forms.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding import virtuals
from aiida_hqe.embedding.localization import owners_of
from aiida_hqe.embedding.meanfield import EmbeddedState
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Ints

SMALLEST = 1e-6
"""Least singular value of the conditions relative to the largest: below it the shell that they define is not well defined."""


@dataclasses.dataclass(frozen=True, eq=False)
class Truncation:
    """Shells of a virtual space that is not used whole.

    Attributes
    ----------
    shells
        Orthonormal virtual orbitals of each kept shell, and of what is discarded as the last (n_ao, n_shell).
    fock
        Fock matrix of the core (n_ao, n_ao).
    overlap
        Overlap of all atomic orbitals with those of the core atoms (n_ao, n_A).
    functions
        Which atomic orbitals those are (n_A,).
    """

    shells: list[Floats]
    fock: Floats
    overlap: Floats
    functions: Ints

    @property
    def orbitals(self) -> Floats:
        """All virtual orbitals, shell by shell (n_ao, n_v)."""
        return np.hstack(self.shells)

    @property
    def kept(self) -> Floats:
        """Kept virtual orbitals."""
        return np.hstack(self.shells[:-1])


@dataclasses.dataclass(frozen=True, eq=False)
class Multipliers:
    """Multipliers of the conditions.

    Attributes
    ----------
    density
        Those of the Fock matrix as a symmetric density of the shells' orbitals (n_v, n_v).
    derivative
        What those of the overlap add to the generalised Fock matrix, columns of the shells' orbitals (n_ao, n_v).
    overlap
        What they contract with derivatives of the overlap matrix, symmetric (n_ao, n_ao).
    """

    density: Floats
    derivative: Floats
    overlap: Floats


def truncation(embedded: EmbeddedState, virtual: Floats, n_kept: int) -> Truncation | None:
    """Shells that hold the first `n_kept` of the virtual orbitals (n_ao, n_v); ``None`` where that is all of them."""
    if n_kept == virtual.shape[1]:
        return None
    state, atoms, fock = embedded.state, embedded.partition.atoms, embedded.fock[0]
    shells = virtuals.shells(state, atoms, virtual, fock)
    n_shells = int(np.searchsorted(np.cumsum([shell.shape[1] for shell in shells]), n_kept)) + 1
    functions = np.flatnonzero(np.isin(owners_of(state.mol), atoms))
    parts = [*shells[:n_shells], np.hstack(shells[n_shells:])]
    return Truncation(parts, fock, state.overlap[:, functions], functions)


def multipliers(space: Truncation, moment: Floats) -> Multipliers:
    """Multipliers from ``moment = C^T dE/dC`` of the shells' orbitals (n_v, n_v), which they make symmetric.

    Raises
    ------
    InputError
        A shell is not well defined.
    """
    C, moment = space.orbitals, moment.copy()
    F, ends = C.T @ space.fock @ C, np.cumsum([0, *(shell.shape[1] for shell in space.shells)])
    density = np.zeros_like(F)
    for s in range(len(space.shells) - 2, 0, -1):
        before, shell, beyond = slice(ends[s - 1], ends[s]), slice(ends[s], ends[s + 1]), slice(ends[s + 1], None)
        z = _solve(F[shell, before], moment[beyond, shell].T - moment[shell, beyond])
        change = np.zeros_like(F)
        change[before, beyond], change[beyond, before] = 0.5 * z, 0.5 * z.T
        density += change
        moment += 2.0 * F @ change
    first, beyond = slice(0, ends[1]), slice(ends[1], None)
    y = _solve(space.shells[0].T @ space.overlap, moment[beyond, first].T - moment[first, beyond])
    derivative, overlap = np.zeros_like(C), np.zeros((len(C), len(C)))
    derivative[:, beyond] = space.overlap @ y
    overlap[:, space.functions] = C[:, beyond] @ y.T
    return Multipliers(density, derivative, 0.5 * (overlap + overlap.T))


def _solve(conditions: Floats, right: Floats) -> Floats:
    """Least-norm solution of ``conditions x = right``."""
    sigma = np.linalg.svd(conditions, compute_uv=False)
    if sigma[-1] < SMALLEST * sigma[0]:
        raise InputError(
            f"a shell of virtual orbitals that is clear of the next was expected (its weakest coupling is"
            f" {sigma[-1] / sigma[0]:.1e} of its strongest, above {SMALLEST:.0e} needed for forces): choose another number of"
            " shells or the full virtual space, or composite forces",
            "core.virtuals",
        )
    return np.asarray(np.linalg.lstsq(conditions, right, rcond=None)[0])
