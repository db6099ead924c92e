"""Many labels at once: frames, a cheap level, and a program that stands in for ``hqe-job`` where only AiiDA is looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parent / "data" / "methanol_water.h5"

LEVEL: dict[str, Any] = {
    "environment": {"xc": "pbe", "basis": "6-31g", "grid_level": 1},
    "core": {"method": "mp2"},
    "embedding": {"core_orbitals": [6]},
    "forces": "none",
}
"""A cheap level: MP2 of the O-H end of methanol in PBE, energies of the core and forces of the environment."""

STAND_IN = """#!/bin/sh
# Stands in for hqe-job: it hands out a label that was made beforehand, once the gate is open. Its numbers mean nothing.
key=$(sha256sum < frames.h5)
date +%s.%N > {folder}/began/$$
flock --shared {folder}/gate true
cat {folder}/labels/${{key%% *}} > labels.jsonl
echo '{{"state": "finished", "seconds": 0.0, "counts": {{"frames": 1, "labelled": 1}}}}' > status.json
"""


def frames(count: int) -> Any:
    """So many configurations of methanol among the charges of some hundred waters."""
    from aiida_hqe.frames import Frames

    known, rng = Frames.read(DATA), np.random.default_rng(1)
    places = [known[number % len(known)] for number in range(count)]
    moved = [frame.positions + rng.normal(0, 0.01, frame.positions.shape) for frame in places]
    return Frames(
        frame.unlabelled().replace(positions=positions, core=[0, 1, 0, 0, 0, 1])
        for frame, positions in zip(places, moved, strict=True)
    )


def stand_in(folder: Path, batch: Any) -> Path:
    """The script that stands in for hqe-job, with its labels."""
    from aiida_hqe.frames import Frames
    from aiida_hqe.labels import Label

    for name in ("labels", "began"):
        (folder / name).mkdir(parents=True)
    for frame in batch:
        Frames([frame]).write(folder / "frame.h5")
        key = hashlib.sha256((folder / "frame.h5").read_bytes()).hexdigest()
        nothing = [(0.0, 0.0, 0.0)]
        label = Label(
            status="ok", frame=frame.hash, energy=0.0, environment_energy=0.0,
            environment_forces=nothing * len(frame.numbers), environment_mm_forces=nothing * len(frame.mm_charges),
        )  # fmt: skip
        (folder / "labels" / key).write_text(label.model_dump_json() + "\n")
    script = folder / "hqe-job"
    script.write_text(STAND_IN.format(folder=folder))
    script.chmod(0o700)
    return script
