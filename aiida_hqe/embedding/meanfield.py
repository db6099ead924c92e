"""The embedded mean field: orbitals of a core in the field of its environment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from pyscf import scf

from aiida_hqe.embedding.diis import Extrapolation
from aiida_hqe.embedding.environment import EnvironmentState, with_orbitals
from aiida_hqe.embedding.functionals import FUNCTIONALS, Functional, Potential
from aiida_hqe.embedding.level import Embedding
from aiida_hqe.embedding.partition import Partition
from aiida_hqe.embedding.projectors import Projector, projectors
from aiida_hqe.errors import ConvergenceError
from aiida_hqe.frames import Floats

TOLERANCE = 1e-9
"""Largest element of the orbital gradient at convergence: the correlation energy is first order in it."""

ROUND_OFF = 1e-12
"""Round-off of the orbital gradient per hartree of a level shift, which is added to the tolerance."""

MAX_CYCLES = 100
"""Cycles on each rung: DIIS, then damped DIIS with a level shift on the virtual orbitals."""


class HartreeFock:
    """Two-electron integrals of the high level; called with a density it returns potential and energy.

    Parameters
    ----------
    state
        Environment whose molecule, and whose integrals where it has them, are used.
    density_fit
        Whether Coulomb and exchange are density-fitted.
    """

    def __init__(self, state: EnvironmentState, density_fit: bool) -> None:
        mf = scf.RHF(state.mol) if state.n_spin == 1 else scf.UHF(state.mol)
        fitted = getattr(state.mf, "with_df", None)
        if density_fit:
            mf = mf.density_fit()
            if fitted and fitted.auxbasis == mf.with_df.auxbasis:
                mf.with_df = fitted
        elif not fitted:
            mf._eri = state.mf._eri
        self.mf: Any = mf
        self._last: tuple[Any, Any] = (None, None)

    def __call__(self, density: Floats) -> tuple[Floats, float]:
        """Potential (n_spin, n_ao, n_ao) and energy (hartree) of the electron repulsion in Hartree-Fock theory.

        Where integrals are not kept, PySCF adds what has changed since the last call.
        """
        dm = with_orbitals(density)
        veff = self.mf.get_veff(self.mf.mol, dm, *self._last)
        self._last = (dm, veff)
        v = np.array(veff).reshape(density.shape)
        return v, 0.5 * float(np.sum(v * density))


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedState:
    """Mean field of one core, in atomic units.

    Attributes
    ----------
    state, partition
        What it is embedded in.
    operator
        One-electron operator of the core, with the embedding potential (n_spin, n_ao, n_ao).
    fock
        Fock matrix of the core, `operator` with its own mean field (n_spin, n_ao, n_ao).
    orbitals
        For each spin channel, occupied then virtual orbitals (n_ao, n_ao - n_B).
    energy
        What the mean field adds to the environment's energy (hartree).
    """

    state: EnvironmentState
    partition: Partition
    operator: Floats
    fock: Floats
    orbitals: list[Floats]
    energy: float

    @property
    def density(self) -> Floats:
        """Density of the core (n_spin, n_ao, n_ao)."""
        counts = self.partition.n_core
        return self.state.density_of([C[:, :n] for C, n in zip(self.orbitals, counts, strict=True)])


def embed(
    state: EnvironmentState,
    partition: Partition,
    settings: Embedding,
    high: Potential,
    guess: Floats | None = None,
) -> EmbeddedState:
    """Relax a core in its environment (or evaluate it unrelaxed, functional `static`).

    Parameters
    ----------
    high
        Two-electron potential of the core's method: `HartreeFock`, or `state.potential` for DFT in DFT.
    guess
        First density of the core (n_spin, n_ao, n_ao); by default the Kohn-Sham one.

    Raises
    ------
    ConvergenceError
        The embedded equations did not converge.
    """
    functional = FUNCTIONALS[settings.functional](state, partition, high)
    if settings.functional == "static":
        return _unrelaxed(state, partition, functional)
    spaces = projectors(state, partition, settings.projector)
    guess = state.density_of(partition.core) if guess is None else guess
    tolerance = TOLERANCE + ROUND_OFF * max(space.shift or 0.0 for space in spaces)
    residual = np.inf
    for level_shift in (0.0, 0.3):
        fock, energy, residual = _iterate(state, partition, functional, spaces, guess, level_shift, tolerance)
        if residual < tolerance:
            orbitals = [
                space.basis @ space.diagonalise(space.project(F))[1] for space, F in zip(spaces, fock, strict=True)
            ]
            return EmbeddedState(state, partition, functional.operator, fock, orbitals, energy)
    raise ConvergenceError(
        f"the embedded mean field did not converge (orbital gradient {residual:.1e}, below {tolerance:.0e} expected) by DIIS"
        " without and with a level shift: choose other core orbitals or the projector huzinaga",
        residual,
    )


def _iterate(
    state: EnvironmentState,
    partition: Partition,
    functional: Functional,
    spaces: list[Projector],
    density: Floats,
    shift: float,
    tolerance: float,
) -> tuple[Floats, float, float]:
    """DIIS on the projected Fock matrices; returns the last Fock matrix, energy and orbital gradient."""
    extrapolation = Extrapolation()
    residual = np.inf
    for _ in range(MAX_CYCLES):
        fock, energy = functional(density)
        projected, errors = [], []
        for space, F, D in zip(spaces, fock, density, strict=True):
            P = space.basis.T @ state.overlap @ D @ state.overlap @ space.basis
            Fp = space.project(F)
            errors.append((Fp @ P - P @ Fp).ravel())
            projected.append(Fp - shift * P * state.n_spin / 2)
        error = np.concatenate(errors)
        residual = float(np.abs(error).max())
        if residual < tolerance:
            break
        mixed = extrapolation.update(np.concatenate([F.ravel() for F in projected]), error)
        sizes = np.cumsum([F.size for F in projected])[:-1]
        shaped = [part.reshape(F.shape) for part, F in zip(np.split(mixed, sizes), projected, strict=True)]
        density = state.density_of(
            [
                space.basis @ space.diagonalise(F)[1][:, :n]
                for space, F, n in zip(spaces, shaped, partition.n_core, strict=True)
            ]
        )
    return fock, energy, residual


def _unrelaxed(state: EnvironmentState, partition: Partition, functional: Functional) -> EmbeddedState:
    """Kohn-Sham orbitals of the core, diagonal in its Fock matrix among themselves, and the virtual ones as they are."""
    fock, energy = functional(state.density_of(partition.core))
    orbitals = []
    for spin, (F, C) in enumerate(zip(fock, partition.core, strict=True)):
        orbitals.append(np.hstack([C @ np.linalg.eigh(C.T @ F @ C)[1], state.virtual(spin)]))
    return EmbeddedState(state, partition, functional.operator, fock, orbitals, energy)
