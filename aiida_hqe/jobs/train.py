"""``hqe-job train``: train members of a committee on labelled frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiida_hqe.baseline.baseline import with_baseline
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import device, report_progress


def run(directory: Path) -> files.Status:
    """Train the members that the settings list, and write each as soon as it is finished.

    Raises
    ------
    InputError
        Frames or settings are wrong.
    DivergenceError
        A loss became NaN; members finished before, and the last good state of this one, are kept in the result file.
    DeviceError
        The device is not there, or fails; members finished before are kept.
    """
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.potentials.device import describe, find
    from aiida_hqe.training.fit import DivergenceError
    from aiida_hqe.training.train import train_member

    settings = files.read_settings(directory, files.SETTINGS, files.TrainJob)
    place = find(device())
    frames = with_baseline(Frames.read(directory / files.FRAMES), settings.potential.baseline)
    path = directory / files.COMMITTEE
    initial = Committee.load(path) if path.is_file() else None
    trained: list[Committee] = []
    histories: list[list[dict[str, Any]]] = []
    for done, member in enumerate(settings.members):
        total = len(settings.members)

        def progress(epoch: int, epochs: int, done: int = done, total: int = total) -> None:
            report_progress(directory, done * epochs + epoch, total * epochs)

        try:
            committee, history = train_member(
                frames,
                settings.potential,
                settings.training,
                member=member,
                seed=settings.seed,
                initial=initial,
                progress=progress,
                device=place,
            )
        except DivergenceError as error:
            kept = error.committee
            if kept is not None and all(one.levels == kept.levels for one in trained):
                Committee.merge([*trained, kept]).save(directory / files.TRAINED)
            raise
        trained.append(committee)
        histories.append(history)
        Committee.merge(trained).save(directory / files.TRAINED)
        (directory / files.HISTORY).write_text(json.dumps(histories, sort_keys=True) + "\n")
    counts = {"members": len(trained), "frames": len(frames)}
    return files.Status(state="finished", device=describe(place), counts=counts)
