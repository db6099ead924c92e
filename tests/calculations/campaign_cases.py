"""A molecule of two atoms on a spring, next to one charge: frames, labels and committees whose errors are known exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm

from aiida_hqe.calculations.settings import SelectionStep
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.hdf5 import write_predictions
from aiida_hqe.predictions import Prediction


def hydrogens(n: int = 4, first: int = 0) -> Frames:
    return Frames(
        Frame(
            numbers=[1, 1],
            positions=[[0, 0, 0], [0.70 + 0.01 * i, 0, 0]],
            charge=0,
            spin=0,
            mm_numbers=[8],
            mm_positions=[[0, 3.0, 0]],
            mm_charges=[-0.5],
            info={"step": i},
        )
        for i in range(first, first + n)
    )


def harmonic(frame: Frame) -> Frame:
    """The frame with the label of the spring."""
    stretch = frame.positions[1, 0] - 0.74
    forces = np.array([[5.0 * stretch, 0, 0], [-5.0 * stretch, 0, 0]])
    return frame.replace(
        environment_energy=-31.0 + 2.5 * stretch**2,
        environment_forces=forces,
        environment_mm_forces=np.zeros((1, 3)),
        info={**frame.info, "seconds": 2.0, "core_seconds": 0.5},
    )


def labelled(n: int = 4, first: int = 0) -> Frames:
    return Frames(harmonic(frame) for frame in hydrogens(n, first))


def predictions(frames: Frames, error: float, spread: float) -> orm.SinglefileData:
    """Two members that are wrong by `error` on average and differ by `spread`, in the x force of the first atom (eV/angstrom)."""
    made = []
    for frame in frames:
        shifts = np.array([error - spread / 2, error + spread / 2])
        forces = np.repeat(np.asarray(harmonic(frame).environment_forces)[None], 2, axis=0)
        forces[:, 0, 0] += shifts
        energies = np.full(2, harmonic(frame).environment_energy) + shifts
        mm_forces = np.zeros((2, 1, 3))
        made.append(
            Prediction(
                frame=frame.hash,
                environment_energies=energies,
                environment_forces=forces,
                environment_mm_forces=mm_forces,
                energies=energies,
                forces=forces,
                mm_forces=mm_forces,
            )
        )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "predictions.h5"
        write_predictions(path, made)
        return orm.SinglefileData(path)


def data(frames: Frames) -> FramesData:
    return FramesData.from_frames(frames)


def campaign(**changes: Any) -> orm.Dict:
    """A campaign as its workchain gets it."""
    sections: dict[str, Any] = {
        "name": "spring",
        "seed": 4,
        "system": {"topology": "h2.pdb", "forcefield": ["h2.xml"], "qm": {"atoms": [0, 1]}, "charge": 0},
        "training": {"held_out": 0.5},
        "sampling": {"initial_frames": 12, "initial_steps": 120, "steps": 40, "interval": 10},
        "selection": {"target_force_error": "100 meV/angstrom", "confidence": 0.75, "batch": 3},
        "stop": {"iterations": 2, "uncertain_fraction": 0.3},
    }
    return orm.Dict(Campaign.model_validate(sections | changes).model_dump(mode="json"))


def step(**changes: Any) -> orm.Dict:
    """Settings of one selection."""
    entries = {
        "selection": {"target_force_error": "100 meV/angstrom", "confidence": 0.75, "batch": 3},
        "held_out": 0.5,
        "seed": 1,
        "converged_below": 0.3,
    }
    return orm.Dict(SelectionStep.model_validate(entries | changes).model_dump(mode="json"))
