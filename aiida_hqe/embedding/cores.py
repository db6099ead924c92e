"""How many orbitals a core has: chosen once, from reference frames, so that it is the same in every frame.

The number is that whose smallest gap over all frames is largest. That there is one number along a path is the idea of automated
and consistent SPADE partitioning (E. Kolodzeiski, C. J. Stein, J. Chem. Theory Comput. 2023, arXiv:2306.09488,
doi:10.1021/acs.jctc.3c00653). Where no gap is open in every frame, or two numbers are about equally good, nothing is chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import Field
from pyscf import lib

from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.localization import loewdin_populations
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.partition import clear_cut, cut_gaps, partition
from aiida_hqe.errors import HQEError, InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.settings import Settings

REFERENCE_FRAMES = 10
"""A choice is made from at most so many frames, evenly spread over those there are."""


class Choice(Settings):
    """The number of orbitals of one core, and what it rests on.

    Attributes
    ----------
    orbitals
        Number of (alpha) orbitals; ``None`` where none is clear.
    gap
        Smallest gap at that cut over the frames, 0 to 1; ``None`` for a core that is the whole region, or without a number.
    gaps
        Smallest gap over the frames after 1, 2, ... orbitals; empty for a core that is the whole region.
    drift
        Largest change, between two frames, of the electrons that the core's orbitals have on an atom outside the core. Up to
        about a tenth they are the same orbitals throughout; with several tenths a bond across the boundary goes elsewhere.
    reason
        Why there is no number.
    """

    orbitals: int | None = None
    gap: float | None = None
    gaps: list[float] = Field(default_factory=list)
    drift: float = 0.0
    reason: str | None = None


def choose(states: Sequence[EnvironmentState], atoms: list[int], scheme: str) -> Choice:
    """Choose the number of orbitals of a core of `atoms` from converged states of one molecule.

    Parameters
    ----------
    scheme
        ``spade``, ``ibo`` or ``pipek-mezey``.
    """
    if len(atoms) == states[0].mol.natm:
        return Choice(orbitals=states[0].n_occupied[0])
    gaps = np.min([cut_gaps(state, atoms, scheme) for state in states], axis=0)
    found: list[float] = gaps.tolist()
    try:
        orbitals = clear_cut(gaps)
    except InputError as error:
        return Choice(gaps=found, reason=str(error))
    return Choice(orbitals=orbitals, gap=found[orbitals - 1], gaps=found, drift=_drift(states, atoms, scheme, orbitals))


def _drift(states: Sequence[EnvironmentState], atoms: list[int], scheme: str, orbitals: int) -> float:
    """Largest change between two frames of the core's electrons on any atom outside it."""
    outside = np.setdiff1d(np.arange(states[0].mol.natm), atoms)
    electrons = []
    for state in states:
        core = state.density_of(partition(state, atoms, scheme, orbitals).core)
        electrons.append(loewdin_populations(state, core.sum(axis=0))[outside])
    return float(np.ptp(np.array(electrons), axis=0).max())


def choose_core_orbitals(frames: Iterable[Frame], level: Level) -> list[int]:
    """Number of (alpha) orbitals of each core of frames of one molecule, the same for all of them.

    Raises
    ------
    InputError
        No frames, no cores, frames of different molecules, or no number is clear.
    """
    frames = list(frames)
    if not frames or not frames[0].n_cores:
        raise InputError("frames with quantum cores were expected (got none): mark the atoms of each core", "core")
    if any(_molecule(frame) != _molecule(frames[0]) for frame in frames):
        raise InputError("frames of one molecule with the same cores were expected (got different ones)", "core")
    states = [orbitals_only(solve_environment(frame, level.environment)) for frame in frames]
    return _numbers(frames[0], states, level)


def orbitals_only(state: EnvironmentState) -> EnvironmentState:
    """The state without its two-electron integrals, so that those of many frames fit into memory."""
    state.mf._eri = None
    if getattr(state.mf, "with_df", None) is not None:
        state.mf.with_df.reset()
    return dataclasses.replace(state, converged_potential=None)


def _numbers(frame: Frame, states: Sequence[EnvironmentState], level: Level) -> list[int]:
    counts = []
    for core in range(1, frame.n_cores + 1):
        choice = choose(states, core_atoms(frame, core), level.embedding.scheme)
        if choice.orbitals is None:
            raise InputError(
                f"core {core} has no clear number of orbitals in all of {len(states)} frames: {choice.reason}",
                "embedding.core_orbitals",
            )
        counts.append(choice.orbitals)
    return counts


def fix_core_orbitals(frames: Frames, level: Level, *, threads: int | None = None) -> dict[str, Level | InputError]:
    """The level of each frame, by its hash, with `core_orbitals` chosen once for all frames of one molecule.

    Frames whose environment cannot be computed have no say; labelling them will report why. A molecule with a single frame is
    left to its label, which chooses in the same way. A choice that is not clear is an
    error for all frames of that molecule, and for no others. A level that fixes the numbers is left as it is.
    """
    fixed: dict[str, Level | InputError] = dict.fromkeys(frames.hashes, level)
    if level.embedding.core_orbitals is not None:
        return fixed
    molecules: dict[tuple[object, ...], list[Frame]] = {}
    for frame in frames.unique():
        if frame.n_cores:
            molecules.setdefault(_molecule(frame), []).append(frame)
    for group in molecules.values():
        with lib.with_omp_threads(threads):
            fixed |= dict.fromkeys((frame.hash for frame in group), _fixed(group, level))
    return fixed


def _fixed(group: list[Frame], level: Level) -> Level | InputError:
    """The level for the frames of one molecule, or why there is none."""
    if len(group) == 1:
        return level
    states: list[EnvironmentState] = []
    for place in np.unique(np.linspace(0, len(group) - 1, min(len(group), REFERENCE_FRAMES)).round().astype(int)):
        try:
            states.append(orbitals_only(solve_environment(group[place], level.environment)))
        except (HQEError, np.linalg.LinAlgError):
            continue
    if not states:
        return level
    try:
        counts = _numbers(group[0], states, level)
    except InputError as error:
        return error
    return level.model_copy(update={"embedding": level.embedding.model_copy(update={"core_orbitals": counts})})


def _molecule(frame: Frame) -> tuple[object, ...]:
    """What frames with one choice have in common."""
    return (frame.numbers.tobytes(), frame.core.tobytes(), frame.charge, frame.spin)
