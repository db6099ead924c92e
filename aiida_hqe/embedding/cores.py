"""Choices about cores that are made once, from reference frames: how many orbitals, and one core or several."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.localization import SCHEMES
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.partition import GAP_LIMIT, gap_profile
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame


def choose_core_orbitals(frames: Iterable[Frame], level: Level) -> list[int]:
    """Number of (alpha) orbitals of each core: the cut whose smallest gap over all frames is largest.

    Raises
    ------
    InputError
        No frames, no cores, frames of different molecules, or no cut has a gap of `GAP_LIMIT` in every frame.
    """
    frames = list(frames)
    if not frames or not frames[0].n_cores:
        raise InputError("frames with quantum cores were expected (got none): mark the atoms of each core", "core")
    if any(frame.n_qm != frames[0].n_qm or np.any(frame.core != frames[0].core) for frame in frames):
        raise InputError("frames of one molecule with the same cores were expected (got different ones)", "core")
    states = [solve_environment(frame, level.environment) for frame in frames]
    counts = []
    for core in range(1, frames[0].n_cores + 1):
        atoms = core_atoms(frames[0], core)
        if len(atoms) == frames[0].n_qm:
            counts.append(states[0].n_occupied[0])
            continue
        scheme = SCHEMES[level.embedding.partition]
        gaps = np.min([gap_profile(scheme(state, atoms, 0)[0]) for state in states], axis=0)
        best = int(np.argmax(gaps))
        if gaps[best] < GAP_LIMIT:
            raise InputError(
                f"a cut of core {core} with a gap of {GAP_LIMIT} in every frame was expected (best is {gaps[best]:.3f} after"
                f" {best + 1} orbitals): choose other core atoms",
                "embedding.core_orbitals",
            )
        counts.append(best + 1)
    return counts


def merged_core_error(frame: Frame, level: Level) -> float:
    """Energy of separate cores minus that of one core of all their atoms and orbitals (eV).

    It estimates the error of the sum over cores, which lacks the correlation between them.

    Raises
    ------
    HQEError
        As labelling the frame would.
    """
    if frame.n_cores < 2:
        raise InputError(f"a frame with two or more cores was expected (got {frame.n_cores})", "core")
    state = solve_environment(frame, level.environment)
    separate = core_labels(frame, level, state)
    embedding = level.embedding.model_copy(update={"core_orbitals": [sum(core.orbitals for core in separate)]})
    merged = frame.replace(core=(frame.core > 0).astype(int))
    (whole,) = core_labels(merged, level.model_copy(update={"embedding": embedding}), state)
    return sum(core.energy for core in separate) - whole.energy
