"""`label`: everything a level says about one frame."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import Any

import numpy as np
from pyscf import lib

from aiida_hqe.baseline.baseline import evaluate as baseline
from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.gradients import support
from aiida_hqe.embedding.level import CompositeForces, Embedding, Level, LevelShift
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.numerical import numerical_forces
from aiida_hqe.embedding.partition import partition
from aiida_hqe.embedding.target_forces import Forces, TargetForces, environment_forces
from aiida_hqe.errors import ConvergenceError, HQEError, InputError, ResourceError, error_kind
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.labels import CoreLabel, Label, Vectors
from aiida_hqe.units import HARTREE


@dataclasses.dataclass
class Memory:
    """Densities of one frame, where the calculation of the next one starts; for frames of one molecule close by.

    Attributes
    ----------
    environment
        Density of the environment (n_spin, n_ao, n_ao).
    cores
        Density of each core.
    """

    environment: Floats | None = None
    cores: dict[int, Floats] = dataclasses.field(default_factory=dict)


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
        A failed one, whose message names the frame, where an `HQEError` occurred, or where a number is not finite.
    """
    start = time.perf_counter()
    with lib.with_omp_threads(threads):
        try:
            found = sound(frame, evaluate(frame, level))
        except HQEError as error:
            found = failed(frame, error)
    return found.model_copy(update={"seconds": time.perf_counter() - start})


def sound(frame: Frame, found: Label) -> Label:
    """A finished label as it is, or a failed one where a number of it is missing or not finite."""
    numbers = [found.energy or 0.0, *(found.environment_charge_gradient or []), *(found.charge_gradient or [])]
    try:
        found.apply(frame)
        unsound = "" if np.isfinite(numbers).all() else "got NaN or infinity"
    except HQEError as error:
        unsound = str(error)
    if not unsound:
        return found
    return failed(
        frame, ConvergenceError(f"finite energies and forces were expected ({unsound}): look at the geometry")
    )


def failed(frame: Frame, error: HQEError) -> Label:
    """The label of a frame that cannot be labelled: it names the frame and says why."""
    message = f"frame {frame.hash[:12]}: {' '.join(str(error).split())}"
    return Label(status="failed", frame=frame.hash, error_kind=error_kind(error), message=message)


def evaluate(frame: Frame, level: Level, memory: Memory | None = None) -> Label:
    """Label of a frame, with PySCF's threads as they are; `memory` is where it starts, and is brought up to date.

    Raises
    ------
    HQEError
        The frame cannot be labelled.
    """
    try:
        return _evaluate(frame, level, memory or Memory())
    except np.linalg.LinAlgError as error:
        raise ConvergenceError(f"linear algebra failed ({error}): check the geometry and the basis") from error
    except (ValueError, ArithmeticError) as error:  # what NumPy and SciPy raise where numbers are no longer finite
        raise ConvergenceError(
            f"the calculation broke down ({type(error).__name__}: {error}): look at the geometry"
        ) from error
    except MemoryError as error:
        raise ResourceError("out of memory: choose a smaller core, basis or virtual space") from error


def _evaluate(frame: Frame, level: Level, memory: Memory) -> Label:
    check(frame, level)
    cheap = _baseline(frame, level)
    state = solve_environment(frame, level.environment, memory.environment)
    memory.environment = state.density
    analytic = TargetForces(state, level) if level.forces not in ("none", "numerical") else None
    start = time.perf_counter()
    cores = core_labels(frame, level, state, analytic, memory)
    environment_energy = state.energy * HARTREE
    found = analytic.total() if analytic else None
    target: dict[str, Any] = {}
    if found is not None:
        target = _analytic(found[1], level)
    elif level.forces == "numerical":
        target = _numerical(frame, level, cores)
    core_seconds = time.perf_counter() - start if cores else 0.0
    environment = found[0] if found else environment_forces(state)
    return Label(
        status="ok",
        frame=frame.hash,
        energy=environment_energy + sum(core.energy for core in cores) if cores else None,
        environment_energy=environment_energy,
        cores=cores,
        merged_core_error=merged_core_error(frame, level, state, cores) if level.embedding.merged_core else None,
        environment_forces=_vectors(environment.atoms),
        environment_mm_forces=_vectors(environment.charges),
        environment_charge_gradient=environment.charge_gradient.tolist(),
        **target,
        **cheap,
        scf_rung=state.rung,
        core_seconds=core_seconds,
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


def _baseline(frame: Frame, level: Level) -> dict[str, Any]:
    """The baseline that the level asks for, as entries of a label."""
    if level.baseline == "none":
        return {}
    found = baseline(frame, level.baseline)
    return {
        "baseline": level.baseline,
        "baseline_energy": found.energy,
        "baseline_forces": _vectors(found.forces),
        "baseline_mm_forces": _vectors(found.mm_forces),
    }


def _analytic(found: Forces, level: Level) -> dict[str, Any]:
    """Fields of the label that hold analytic forces; only composite ones have an energy of their own."""
    return {
        "forces": _vectors(found.atoms),
        "mm_forces": _vectors(found.charges),
        "charge_gradient": found.charge_gradient.tolist(),
        "force_method": found.method,
        "force_energy": found.energy if isinstance(level.forces, CompositeForces) else None,
    }


def _numerical(frame: Frame, level: Level, cores: list[CoreLabel]) -> dict[str, Any]:
    """Fields of the label that hold forces by finite differences, in as many processes as PySCF had threads."""
    embedding = level.embedding.model_copy(update={"core_orbitals": [core.orbitals for core in cores]})
    fixed = level.model_copy(update={"embedding": embedding})
    forces, mm_forces = numerical_forces(frame, partial(target_energy, fixed), lib.num_threads())
    return {"forces": _vectors(forces), "mm_forces": _vectors(mm_forces), "force_method": level.core.method}


def check(frame: Frame, level: Level) -> None:
    """Raise `InputError` where frame and level do not fit, or the level asks for what is not there."""
    counts = level.embedding.core_orbitals
    if counts is not None and frame.n_cores and len(counts) != frame.n_cores:
        raise InputError(
            f"core_orbitals must have one number for each of the {frame.n_cores} cores (got {counts}): correct the list",
            "embedding.core_orbitals",
        )
    if level.forces not in ("none", "numerical"):
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
    frame: Frame,
    level: Level,
    state: EnvironmentState,
    gradients: TargetForces | None = None,
    memory: Memory | None = None,
) -> list[CoreLabel]:
    """Energies of every quantum core of a frame in its converged environment; `gradients` collects their forces."""
    if not frame.n_cores:
        return []
    memory = memory or Memory()
    high = (gradients.high if gradients else None) or meanfield.HartreeFock(state, level.core.density_fit)
    return [_core_label(frame, level, state, high, core, gradients, memory) for core in range(1, frame.n_cores + 1)]


def _core_label(
    frame: Frame,
    level: Level,
    state: EnvironmentState,
    high: meanfield.HartreeFock,
    core: int,
    gradients: TargetForces | None,
    memory: Memory,
) -> CoreLabel:
    start = time.perf_counter()
    counts = level.embedding.core_orbitals
    count = counts[core - 1] if counts else None
    split = partition(state, core_atoms(frame, core), level.embedding.scheme, count)
    embedded = meanfield.embed(state, split, level.embedding, high, memory.cores.get(core))
    memory.cores[core] = embedded.density
    correlated = correlation.correlate(embedded, high, level.core)
    if gradients is not None:
        gradients.add(embedded, correlated)
    correction = correlated.mp2_correction
    dispersion = state.dispersion.within(split.atoms) if state.dispersion else 0.0
    return CoreLabel(
        core=core,
        orbitals=split.n_core[0],
        gap=split.gap,
        projector=_projector(level.embedding),
        mean_field_energy=(embedded.energy - dispersion) * HARTREE,
        correlation_energy=correlated.correlation * HARTREE,
        triples_energy=correlated.triples * HARTREE,
        mp2_correction=None if correction is None else correction * HARTREE,
        virtuals=correlated.virtuals,
        seconds=time.perf_counter() - start,
    )


def merged_core_error(frame: Frame, level: Level, state: EnvironmentState, cores: list[CoreLabel]) -> float | None:
    """Energy of separate cores minus that of one core of all their atoms and orbitals (eV); ``None`` for fewer than two.

    It estimates the error of the sum over cores, which lacks the correlation between them.

    Raises
    ------
    HQEError
        As labelling the merged core would.
    """
    if len(cores) < 2:
        return None
    embedding = level.embedding.model_copy(update={"core_orbitals": [sum(core.orbitals for core in cores)]})
    merged = frame.replace(core=(frame.core > 0).astype(int))
    try:
        (whole,) = core_labels(merged, level.model_copy(update={"embedding": embedding}), state)
    except InputError as error:
        raise InputError(
            f"all cores merged into one: {error}; or set merged_core to false", "embedding.merged_core"
        ) from error
    return sum(core.energy for core in cores) - whole.energy


def _projector(embedding: Embedding) -> str | None:
    """Name of the projector that was used."""
    if embedding.functional == "static":
        return None
    if isinstance(embedding.projector, LevelShift):
        return f"level shift {embedding.projector.level_shift:g} hartree"
    return embedding.projector


def _vectors(array: Floats) -> Vectors:
    return [(float(x), float(y), float(z)) for x, y, z in array]
