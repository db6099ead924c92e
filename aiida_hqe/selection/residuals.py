"""How far what a committee said of frames is from their labels: all that calibration and learning curves ask of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.predictions import PER_FRAME, Level, Prediction, Residuals
from aiida_hqe.selection.disagreement import energy_disagreement, force_disagreement, force_norm

SHOWN = 100
"""Of so many frames, the first ones, `Residuals` keep the mean forces, so that a parity plot can be drawn."""


def residuals(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> Residuals:
    """Residuals of labelled frames.

    Forces of the target level are compared where every frame has them, otherwise those of the environment; the target
    energy where every frame has one, otherwise that of the environment.

    Raises
    ------
    InputError
        A frame lacks forces or its prediction, or target forces are of different methods.
    """
    level, energies_of = force_level(frames), energy_level(frames)
    prefix = prefix_of(level)
    force_error, disagreements = force_errors(frames, predictions, level)
    pairs = paired(frames, predictions)
    energy = [] if energies_of is None else [_energy(*pair, energies_of) for pair in pairs]
    said = [prediction for _, prediction in pairs]
    return Residuals(
        frames=[frame.hash for frame in frames],
        level=level,
        energy_level=energies_of,
        force_method=force_method(frames) if level == "target" else None,
        force_errors=force_error,
        disagreements=disagreements,
        member_errors=np.array([_member_errors(*pair, prefix) for pair in pairs]),
        energy_errors=np.array([error for error, _ in energy]),
        energy_disagreements=np.array([spread for _, spread in energy]),
        energies=np.array([prediction.energy for prediction in said]),
        shown_forces=[getattr(prediction, f"{prefix}forces").mean(axis=0) for prediction in said[:SHOWN]],
        shown_mm_forces=[getattr(prediction, f"{prefix}mm_forces").mean(axis=0) for prediction in said[:SHOWN]],
    )


def joined(parts: Sequence[Residuals]) -> Residuals:
    """Residuals of the frames of several parts, one after the other; the parts are labelled alike (`labelled_alike`)."""
    first = parts[0]
    return Residuals(
        frames=[key for part in parts for key in part.frames],
        level=first.level,
        energy_level=first.energy_level,
        force_method=first.force_method,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in PER_FRAME},
        shown_forces=[forces for part in parts for forces in part.shown_forces][:SHOWN],
        shown_mm_forces=[forces for part in parts for forces in part.shown_mm_forces][:SHOWN],
    )


def labelled_alike(frames: Sequence[Frame]) -> bool:
    """Whether all frames have forces to compare with, and all at the same levels and of the same method."""
    kinds = {(force_level([frame]), energy_level([frame]), force_method([frame])) for frame in frames}
    return len(kinds) == 1 and all(map(_has_forces, frames))


def force_errors(frames: Sequence[Frame], predictions: Sequence[Prediction], level: Level) -> tuple[Floats, Floats]:
    """Force errors N(F_mean - F_label) and disagreements of labelled frames, (n,) each, in eV/angstrom.

    Raises
    ------
    InputError
        A frame lacks forces of this level, or its prediction.
    """
    prefix = prefix_of(level)
    errors, disagreements = [], []
    for frame, prediction in paired(frames, predictions):
        label, mm_label = getattr(frame, f"{prefix}forces"), getattr(frame, f"{prefix}mm_forces")
        if label is None or (mm_label is None and frame.n_mm):
            raise InputError(f"{level} forces on QM atoms and charges were expected (got none for {frame.hash[:12]})")
        forces, mm_forces = getattr(prediction, f"{prefix}forces"), getattr(prediction, f"{prefix}mm_forces")
        if forces.shape[1:] != (frame.n_qm, 3) or mm_forces.shape[1:] != (frame.n_mm, 3):
            raise InputError(f"a prediction of frame {frame.hash[:12]} was expected (got other shapes): predict it")
        disagreements.append(force_disagreement(forces, mm_forces))
        mm_error = mm_forces.mean(axis=0) - (0.0 if mm_label is None else mm_label)
        errors.append(force_norm(forces.mean(axis=0) - label, mm_error))
    return np.array(errors), np.array(disagreements)


def force_level(frames: Sequence[Frame]) -> Level:
    """Level of the forces to compare: the target where every frame has its forces."""
    return "target" if all(frame.forces is not None for frame in frames) else "environment"


def energy_level(frames: Sequence[Frame]) -> Level | None:
    """Level of the energies to compare; ``None`` where some frame has neither."""
    if all(frame.energy is not None for frame in frames):
        return "target"
    return "environment" if all(frame.environment_energy is not None for frame in frames) else None


def force_method(frames: Sequence[Frame]) -> str | None:
    """Method of composite forces; one for all frames.

    Raises
    ------
    InputError
        There are several.
    """
    methods = {frame.info.get("force_method") for frame in frames}
    if len(methods) > 1:
        raise InputError(
            f"target forces of one method were expected in the held-out set (got {sorted(map(str, methods))}): label all"
            " frames at the same level"
        )
    (method,) = methods
    return None if method is None else str(method)


def prefix_of(level: Level) -> str:
    """How the names of forces of a level begin."""
    return "" if level == "target" else "environment_"


def paired(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> list[tuple[Frame, Prediction]]:
    """Each frame with its prediction.

    Raises
    ------
    InputError
        A frame has none.
    """
    by_hash = {prediction.frame: prediction for prediction in predictions}
    missing = [frame.hash[:12] for frame in frames if frame.hash not in by_hash]
    if missing:
        raise InputError(
            f"a prediction for every frame was expected (got none for {', '.join(missing[:3])}): predict them"
        )
    return [(frame, by_hash[frame.hash]) for frame in frames]


def _has_forces(frame: Frame) -> bool:
    prefix = prefix_of(force_level([frame]))
    labels = getattr(frame, f"{prefix}forces"), getattr(frame, f"{prefix}mm_forces")
    return labels[0] is not None and (labels[1] is not None or not frame.n_mm)


def _energy(frame: Frame, prediction: Prediction, level: Level) -> tuple[float, float]:
    """Absolute error of the mean energy, and spread of the members (eV)."""
    energies = prediction.energies if level == "target" else prediction.environment_energies
    label = frame.energy if level == "target" else frame.environment_energy
    return abs(float(np.mean(energies)) - float(label or 0.0)), energy_disagreement(energies)


def _member_errors(frame: Frame, prediction: Prediction, prefix: str) -> list[float]:
    """Force error of each member by itself, (K,), eV/angstrom."""
    label = getattr(frame, f"{prefix}mm_forces")
    forces = getattr(prediction, f"{prefix}forces") - getattr(frame, f"{prefix}forces")
    mm_forces = getattr(prediction, f"{prefix}mm_forces") - (0.0 if label is None else label)
    return [force_norm(*pair) for pair in zip(forces, mm_forces, strict=True)]
