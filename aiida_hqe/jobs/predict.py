"""``hqe-job predict``: what every member of a committee says about frames."""

from __future__ import annotations

from pathlib import Path

from aiida_hqe import hdf5
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import report_progress

EVERY = 20
"""Frames between two reports of progress."""


def run(directory: Path) -> files.Status:
    """Predict all frames of the directory with its committee.

    Raises
    ------
    InputError
        A frame is not of the kind the committee is for.
    IntegrityError
        The committee file is damaged.
    """
    from aiida_hqe.potentials.committee import Committee

    committee = Committee.load(directory / files.COMMITTEE)
    frames = Frames.read(directory / files.FRAMES)
    predictions = []
    for start in range(0, len(frames), EVERY):
        predictions += committee.predict_batch(frames[start : start + EVERY])
        report_progress(directory, len(predictions), len(frames))
    hdf5.write_predictions(directory / files.PREDICTIONS, predictions)
    return files.Status(state="finished", counts={"frames": len(frames), "members": committee.n_members})
