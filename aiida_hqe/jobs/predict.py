"""``hqe-job predict``: what every member of a committee says about frames."""

from __future__ import annotations

from pathlib import Path

from aiida_hqe import hdf5
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import device, report_progress
from aiida_hqe.predictions import Prediction, Residuals
from aiida_hqe.residuals import write_residuals
from aiida_hqe.selection.residuals import joined, labelled_alike, residuals

EVERY = 20
"""Frames between two reports of progress."""


def run(directory: Path) -> files.Status:
    """Predict all frames of the directory with its committee.

    ``predictions.h5`` holds what each member says of frames without labels (`aiida_hqe.predictions.Prediction`). Of frames that
    are labelled alike it holds how far the committee is from the labels (`aiida_hqe.predictions.Residuals`), without vectors:
    a campaign predicts its held-out labels once more with every committee.

    Raises
    ------
    InputError
        A frame is not of the kind the committee is for.
    IntegrityError
        The committee file is damaged.
    DeviceError
        The device is not there, or fails.
    """
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.potentials.device import describe

    committee = Committee.load(directory / files.COMMITTEE).replace(device=device())
    frames = Frames.read(directory / files.FRAMES)
    judged = committee.n_members > 1 and labelled_alike(frames)
    predictions: list[Prediction] = []
    parts: list[Residuals] = []
    for start in range(0, len(frames), EVERY):
        some = frames[start : start + EVERY]
        said = committee.predict_batch(some)
        if judged:
            parts.append(residuals(some, said))
        else:
            predictions += said
        report_progress(directory, start + len(some), len(frames))
    if judged:
        write_residuals(directory / files.PREDICTIONS, joined(parts))
    else:
        hdf5.write_predictions(directory / files.PREDICTIONS, predictions)
    counts = {"frames": len(frames), "members": committee.n_members}
    return files.Status(state="finished", device=describe(committee.device), counts=counts)
