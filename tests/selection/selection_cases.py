"""Frames and predictions whose force error and disagreement are known exactly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.predictions import Prediction


def made(pairs: Iterable[tuple[float, float]], start: int = 0) -> tuple[Frames, list[Prediction]]:
    """Helium atoms, one a frame, for which a committee of two has these force errors and disagreements.

    The energy error is twice the force error, the energy disagreement half of the disagreement.
    """
    frames, predictions = [], []
    for number, (error, disagreement) in enumerate(pairs, start=start):
        frame = Frame(
            numbers=[2], positions=[[float(number), 0.0, 0.0]], charge=0, spin=0, energy=-10.0, environment_energy=-10.0,
            environment_forces=np.zeros((1, 3)), environment_mm_forces=np.zeros((0, 3)),
            info={"disagreement": disagreement, "energy_disagreement": disagreement / 2},
        )  # fmt: skip
        half = disagreement / np.sqrt(2)
        forces = np.array([[[error, half, 0.0]], [[error, -half, 0.0]]])
        energies = -10.0 + 2 * error + np.array([half, -half]) / 2
        frames.append(frame)
        predictions.append(
            Prediction(
                frame=frame.hash,
                environment_energies=energies,
                environment_forces=forces,
                environment_mm_forces=np.zeros((2, 0, 3)),
                energies=energies,
                forces=forces,
                mm_forces=np.zeros((2, 0, 3)),
            )
        )
    return Frames(frames), predictions
