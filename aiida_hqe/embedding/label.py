"""`label`: everything a level says about one frame."""

from __future__ import annotations

import time

from pyscf import lib

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.partition import partition
from aiida_hqe.errors import HQEError, InputError, error_kind
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.labels import CoreLabel, Label, Vectors
from aiida_hqe.units import HARTREE


def label(frame: Frame, level: Level, *, threads: int | None = None) -> Label:
    """Label one frame: environment energy and forces, and the energy of each quantum core.

    Parameters
    ----------
    frame
        Configuration; any labels it has are ignored.
    level
        Level of the label.
    threads
        OpenMP threads of PySCF; ``None`` leaves them as they are.

    Returns
    -------
    Label
        A failed one, whose message names the frame, where an `HQEError` occurred.
    """
    start = time.perf_counter()
    with lib.with_omp_threads(threads):
        try:
            found = _label(frame, level)
        except HQEError as error:
            message = f"frame {frame.hash[:12]}: {' '.join(str(error).split())}"
            found = Label(status="failed", frame=frame.hash, error_kind=error_kind(error), message=message)
    return found.model_copy(update={"seconds": time.perf_counter() - start})


def _label(frame: Frame, level: Level) -> Label:
    """Label a frame, or raise."""
    check(frame, level)
    state = solve_environment(frame, level.environment)
    forces, mm_forces = state.forces()
    start = time.perf_counter()
    cores = core_labels(frame, level, state)
    environment_energy = state.energy * HARTREE
    added = sum(core.mean_field_energy + core.correlation_energy + core.triples_energy for core in cores)
    return Label(
        status="ok",
        frame=frame.hash,
        energy=environment_energy + added if cores else None,
        environment_energy=environment_energy,
        cores=cores,
        environment_forces=_vectors(forces),
        environment_mm_forces=_vectors(mm_forces),
        scf_rung=state.rung,
        core_seconds=time.perf_counter() - start if cores else 0.0,
    )


def check(frame: Frame, level: Level) -> None:
    """Raise `InputError` where frame and level do not fit, or the level asks for what is not there."""
    counts = level.embedding.core_orbitals
    if counts is not None and frame.n_cores and len(counts) != frame.n_cores:
        raise InputError(
            f"core_orbitals must have one number for each of the {frame.n_cores} cores (got {counts}): correct the list",
            "embedding.core_orbitals",
        )


def core_labels(frame: Frame, level: Level, state: EnvironmentState) -> list[CoreLabel]:
    """Energies of every quantum core of a frame in its converged environment."""
    if not frame.n_cores:
        return []
    high = meanfield.HartreeFock(state, level.core.density_fit)
    return [_core_label(frame, level, state, high, core) for core in range(1, frame.n_cores + 1)]


def _core_label(
    frame: Frame, level: Level, state: EnvironmentState, high: meanfield.HartreeFock, core: int
) -> CoreLabel:
    start = time.perf_counter()
    counts = level.embedding.core_orbitals
    count = counts[core - 1] if counts else None
    split = partition(state, core_atoms(frame, core), level.embedding.partition, count)
    embedded = meanfield.embed(state, split, level.embedding, high)
    correlated = correlation.correlate(embedded, high, level.core)
    correction = correlated.mp2_correction
    return CoreLabel(
        core=core,
        orbitals=split.n_core[0],
        gap=split.gap,
        mean_field_energy=embedded.energy * HARTREE,
        correlation_energy=correlated.correlation * HARTREE,
        triples_energy=correlated.triples * HARTREE,
        mp2_correction=None if correction is None else correction * HARTREE,
        virtuals=correlated.virtuals,
        seconds=time.perf_counter() - start,
    )


def _vectors(array: Floats) -> Vectors:
    return [(float(x), float(y), float(z)) for x, y, z in array]
