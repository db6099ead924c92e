"""`label`: everything a level says about one frame."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from pyscf import lib

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.gradients import support
from aiida_hqe.embedding.gradients.forces import CoreGradients
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.numerical import numerical_forces
from aiida_hqe.embedding.partition import partition
from aiida_hqe.errors import ConvergenceError, HQEError, InputError, ResourceError, error_kind
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.labels import CoreLabel, Label, Vectors
from aiida_hqe.units import HARTREE, HARTREE_PER_BOHR


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
            found = _failed(frame, error)
        except np.linalg.LinAlgError as error:
            found = _failed(
                frame, ConvergenceError(f"linear algebra failed ({error}): check the geometry and the basis")
            )
        except MemoryError:
            found = _failed(frame, ResourceError("out of memory: choose a smaller core, basis or virtual space"))
    return found.model_copy(update={"seconds": time.perf_counter() - start})


def _failed(frame: Frame, error: HQEError) -> Label:
    message = f"frame {frame.hash[:12]}: {' '.join(str(error).split())}"
    return Label(status="failed", frame=frame.hash, error_kind=error_kind(error), message=message)


def _label(frame: Frame, level: Level) -> Label:
    """Label a frame, or raise."""
    check(frame, level)
    state = solve_environment(frame, level.environment)
    forces, mm_forces = state.forces()
    start = time.perf_counter()
    gradients = CoreGradients(state, level.core) if level.forces == "analytic" else None
    cores = core_labels(frame, level, state, gradients)
    environment_energy = state.energy * HARTREE
    target: tuple[Vectors, Vectors] | tuple[None, None] = (None, None)
    if gradients is not None:
        target = _analytic_forces(forces, mm_forces, gradients)
    elif level.forces == "numerical":
        target = _numerical_forces(frame, level, cores)
    return Label(
        status="ok",
        frame=frame.hash,
        energy=environment_energy + sum(core.energy for core in cores) if cores else None,
        environment_energy=environment_energy,
        cores=cores,
        environment_forces=_vectors(forces),
        environment_mm_forces=_vectors(mm_forces),
        forces=target[0],
        mm_forces=target[1],
        scf_rung=state.rung,
        core_seconds=time.perf_counter() - start if cores else 0.0,
    )


def target_energy(level: Level, frame: Frame) -> float:
    """Energy of the target level (eV), or of the environment where the frame has no core.

    Raises
    ------
    HQEError
        As labelling the frame would.
    """
    state = solve_environment(frame, level.environment)
    return state.energy * HARTREE + sum(core.energy for core in core_labels(frame, level, state))


def _analytic_forces(forces: Floats, mm_forces: Floats, cores: CoreGradients) -> tuple[Vectors, Vectors]:
    """Forces of the environment and of all cores together."""
    added = cores.total()
    return _vectors(forces - HARTREE_PER_BOHR * added.atoms), _vectors(mm_forces - HARTREE_PER_BOHR * added.charges)


def _numerical_forces(frame: Frame, level: Level, cores: list[CoreLabel]) -> tuple[Vectors, Vectors]:
    """Forces by finite differences, in as many processes as PySCF had threads."""
    embedding = level.embedding.model_copy(update={"core_orbitals": [core.orbitals for core in cores]})
    fixed = level.model_copy(update={"embedding": embedding})
    forces, mm_forces = numerical_forces(frame, partial(target_energy, fixed), lib.num_threads())
    return _vectors(forces), _vectors(mm_forces)


def check(frame: Frame, level: Level) -> None:
    """Raise `InputError` where frame and level do not fit, or the level asks for what is not there."""
    counts = level.embedding.core_orbitals
    if counts is not None and frame.n_cores and len(counts) != frame.n_cores:
        raise InputError(
            f"core_orbitals must have one number for each of the {frame.n_cores} cores (got {counts}): correct the list",
            "embedding.core_orbitals",
        )
    if level.forces == "analytic":
        support.check(frame, level)
    if level.forces == "numerical" and not frame.n_cores:
        raise InputError(
            "forces of the target level need a quantum core (got a frame without one): set forces to none", "forces"
        )
    if level.core.method == "lno-ccsd(t)":
        _check_local(frame, level)


def _check_local(frame: Frame, level: Level) -> None:
    """Raise `InputError` where local coupled cluster cannot serve."""
    if not level.core.density_fit:
        raise InputError("lno-ccsd(t) needs density_fit: true in core (got false): set it", "core.density_fit")
    if frame.spin:
        raise InputError(
            "lno-ccsd(t) is there for closed shells (got unpaired electrons): choose ccsd(t)", "core.method"
        )
    if level.embedding.functional == "static":
        raise InputError(
            "lno-ccsd(t) needs a relaxed mean field (got functional static): choose linear or nonlinear, or ccsd(t)",
            "embedding.functional",
        )


def core_labels(
    frame: Frame, level: Level, state: EnvironmentState, gradients: CoreGradients | None = None
) -> list[CoreLabel]:
    """Energies of every quantum core of a frame in its converged environment; `gradients` collects their forces."""
    if not frame.n_cores:
        return []
    high = gradients.high if gradients else meanfield.HartreeFock(state, level.core.density_fit)
    return [_core_label(frame, level, state, high, core, gradients) for core in range(1, frame.n_cores + 1)]


def _core_label(
    frame: Frame,
    level: Level,
    state: EnvironmentState,
    high: meanfield.HartreeFock,
    core: int,
    gradients: CoreGradients | None,
) -> CoreLabel:
    start = time.perf_counter()
    counts = level.embedding.core_orbitals
    count = counts[core - 1] if counts else None
    split = partition(state, core_atoms(frame, core), level.embedding.partition, count)
    embedded = meanfield.embed(state, split, level.embedding, high)
    correlated = correlation.correlate(embedded, high, level.core)
    if gradients is not None:
        gradients.add(embedded, correlated)
    correction = correlated.mp2_correction
    dispersion = state.dispersion.within(split.atoms) if state.dispersion else 0.0
    return CoreLabel(
        core=core,
        orbitals=split.n_core[0],
        gap=split.gap,
        mean_field_energy=(embedded.energy - dispersion) * HARTREE,
        correlation_energy=correlated.correlation * HARTREE,
        triples_energy=correlated.triples * HARTREE,
        mp2_correction=None if correction is None else correction * HARTREE,
        virtuals=correlated.virtuals,
        seconds=time.perf_counter() - start,
    )


def _vectors(array: Floats) -> Vectors:
    return [(float(x), float(y), float(z)) for x, y, z in array]
