"""Partition of the occupied Kohn-Sham orbitals into those of a core and those of its environment."""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.localization import SCHEMES, loewdin_populations
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats

GAP_LIMIT = 0.1
"""Least gap between the singular values on both sides of the cut; below it the core is not well defined."""

RIVAL_LIMIT = 0.75
"""Where the cut is chosen by the largest gap, the second largest must be below this fraction of it."""

SPIN_LIMIT = 0.25
"""Largest distance of a core's spin population from a whole number of unpaired electrons."""


@dataclasses.dataclass(frozen=True, eq=False)
class Partition:
    """Occupied orbitals of each spin channel, split into those of a core (A) and of its environment (B).

    Attributes
    ----------
    core, environment
        For each spin channel, orthonormal orbitals (n_ao, n_A) and (n_ao, n_B).
    gap
        Smallest gap at the cut over the spin channels, 0 to 1; ``None`` when the core is the whole region.
    atoms
        Indices of the core's atoms.
    """

    core: list[Floats]
    environment: list[Floats]
    gap: float | None
    atoms: list[int]

    @property
    def n_core(self) -> tuple[int, ...]:
        """Number of core orbitals of each spin channel."""
        return tuple(C.shape[1] for C in self.core)


def partition(state: EnvironmentState, atoms: list[int], scheme: str, n_core: int | None) -> Partition:
    """Split the occupied orbitals for a core of `atoms`.

    Parameters
    ----------
    scheme
        Name in `SCHEMES`, as a level's `Embedding.scheme` gives it.
    n_core
        Number of (alpha) core orbitals; ``None`` cuts at the largest gap of this state, which must be clear. In an open shell
        the core has as many beta orbitals fewer as it has unpaired electrons by its Loewdin spin population.

    Raises
    ------
    InputError
        The number of orbitals is impossible, the gap at the cut is below `GAP_LIMIT`, the cut or the number of unpaired
        electrons is ambiguous.
    """
    if n_core is not None and not 1 <= n_core <= state.n_occupied[0]:
        raise InputError(
            f"a core must have 1 to {state.n_occupied[0]} of the occupied orbitals (got {n_core}): correct core_orbitals",
            "embedding.core_orbitals",
        )
    if n_core is None:
        whole = len(atoms) == state.mol.natm
        n_core = state.n_occupied[0] if whole else clear_cut(cut_gaps(state, atoms, scheme))
    wanted = [n_core] * state.n_spin
    if state.n_spin == 2:
        wanted[1] = max(n_core - unpaired(state, atoms), 0)
    core, environment, gaps = [], [], []
    for spin, n in enumerate(wanted):
        sigma, U = SCHEMES[scheme](state, atoms, spin)
        C = state.occupied(spin) @ U
        core.append(C[:, :n])
        environment.append(C[:, n:])
        gaps += [_checked_gap(sigma, n)] if 0 < n < len(sigma) else []
    return Partition(core, environment, min(gaps, default=None), atoms)


def gap_profile(sigma: Floats) -> Floats:
    """Gap below each singular value but the last (n_occ - 1,)."""
    return sigma[:-1] - sigma[1:]


def cut_gaps(state: EnvironmentState, atoms: list[int], scheme: str) -> Floats:
    """Gap at the cut after 1, 2, ... of the (alpha) occupied orbitals, the smaller one of both spins (n_occ - 1,).

    Raises
    ------
    InputError
        The number of unpaired electrons of the core is ambiguous.
    """
    alpha = gap_profile(SCHEMES[scheme](state, atoms, 0)[0])
    if state.n_spin == 1:
        return alpha
    fewer, beta = unpaired(state, atoms), gap_profile(SCHEMES[scheme](state, atoms, 1)[0])
    gaps = alpha.copy()
    for n in range(1, len(alpha) + 1):
        if 1 <= n - fewer <= len(beta):
            gaps[n - 1] = min(gaps[n - 1], beta[n - fewer - 1])
    return gaps


def _checked_gap(sigma: Floats, n: int) -> float:
    gaps = gap_profile(sigma)
    gap = float(gaps[n - 1])
    if gap < GAP_LIMIT:
        best = int(np.argmax(gaps))
        remedy = "choose another number of core orbitals or other core atoms"
        if gaps[best] < GAP_LIMIT:
            remedy = "these atoms hold no orbitals of their own: choose other core atoms"
        raise InputError(
            f"the singular-value gap at the cut after {n} core orbitals is {gap:.3f} (at least {GAP_LIMIT} expected; the"
            f" largest one, {gaps[best]:.3f}, is after {best + 1}): {remedy}",
            "embedding.core_orbitals",
        )
    return gap


def clear_cut(gaps: Floats) -> int:
    """Number of orbitals above the largest of `gaps` (n_occ - 1,).

    Raises
    ------
    InputError
        That gap is below `GAP_LIMIT`, or another is above `RIVAL_LIMIT` of it.
    """
    if not len(gaps):
        raise InputError(
            "two or more occupied orbitals were expected (got one, which cannot be divided): choose other core atoms",
            "core",
        )
    first, second = np.argsort(-np.pad(gaps, (0, 1)), kind="stable")[:2].tolist()
    rival = gaps[second] if second < len(gaps) else 0.0
    if gaps[first] < GAP_LIMIT or rival > RIVAL_LIMIT * gaps[first]:
        raise InputError(
            f"one clear singular-value gap, at least {GAP_LIMIT}, was expected (got {gaps[first]:.3f} after {first + 1} orbitals"
            f" and {rival:.3f} after {second + 1}): fix core_orbitals or choose other core atoms",
            "embedding.core_orbitals",
        )
    return int(first) + 1


def unpaired(state: EnvironmentState, atoms: list[int]) -> int:
    """Number of unpaired electrons of the core."""
    population = float(loewdin_populations(state, state.density[0] - state.density[1])[atoms].sum())
    if abs(population - round(population)) > SPIN_LIMIT:
        raise InputError(
            f"a core with a whole number of unpaired electrons was expected (got a spin population of {population:.2f}):"
            " choose core atoms that hold the unpaired electrons",
            "core",
        )
    return round(population)
