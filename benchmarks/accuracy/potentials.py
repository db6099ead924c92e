"""What the network gains from seeing the charges, and from a baseline.

``python benchmarks/accuracy/potentials.py FOLDER [sample] [label] [report], or FOLDER learn ARM ...``

Methanol in TIP3P water at 300 K, sampled by the force field from four independent starts; environment labels (PBE/def2-SVP,
density fitting, grid level 2, in the point charges) of every frame. Committees are trained by ``aiida-hqe train`` on frames
spread over the first three trajectories, on which all settings were chosen too, and judged by ``aiida-hqe predict --json`` on
the fourth, on which nothing was. ``learn`` takes names of arms; without, it means all.
The folder also holds a few frames of the same at 600 K, for ``selection.py``, which reads it as ``calibration.py`` does.

Each step writes its result into FOLDER and goes on where it was interrupted. Figures of the stored run: ``potentials.json``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.labels import Label
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.selection.calibration import frames_needed
from aiida_hqe.selection.disagreement import force_norm
from aiida_hqe.training.settings import TrainingSettings

SEED = 2026
WALKERS, EACH = 3, 100
"""Independent trajectories to learn from, and frames of each; for ``selection.py`` those of the last are the test set."""

JUDGING = 10
"""What the seed of the judging trajectory is beyond `SEED`."""

HOT, HOT_FRAMES = 600.0, (22, 18, 18)
"""Temperature (K) of a region that is rare at 300 K, and frames of its trajectories; those of the first are not for tests."""

LEVEL = Level.model_validate({"environment": {"xc": "pbe", "basis": "def2-svp", "grid_level": 2, "density_fit": True}})


def sample(folder: Path) -> None:
    """Frames of `WALKERS` trajectories, one every 50 fs, taken in turns: a training set of any size has both."""
    if not (folder / "frames.h5").exists():
        found = [trajectory(folder, SEED + walker, EACH) for walker in range(WALKERS)]
        turns = [frame for group in zip(*found[:-1], strict=True) for frame in group]
        Frames([*turns, *found[-1]]).write(folder / "frames.h5")
    if not (folder / "judging.h5").exists():
        Frames(trajectory(folder, SEED + JUDGING, EACH)).write(folder / "judging.h5")
    if not (folder / "hot.h5").exists():
        hot = [trajectory(folder, SEED + WALKERS + i, count, HOT) for i, count in enumerate(HOT_FRAMES)]
        Frames(frame for frames in hot for frame in frames).write(folder / "hot.h5")


def trajectory(folder: Path, seed: int, count: int, temperature: float = 300.0) -> list[Frame]:
    """Frames of the force field's dynamics from a start of its own."""
    from aiida_hqe.campaign import template
    from aiida_hqe.campaign.check import check
    from aiida_hqe.dynamics.prepare import prepare
    from aiida_hqe.dynamics.sample import sample as run

    if not (folder / "campaign.yaml").exists():
        template.copy("methanol-water", folder)
    checked = check(folder / "campaign.yaml")
    changes = {"equilibration_steps": 3000, "temperature": temperature}
    settings = checked.campaign.sampling.model_copy(update=changes)
    start = prepare(checked.assembly, settings, seed)
    found = run(start, settings, None, seed=seed, steps=100 * count, interval=100)
    return [frame.replace(core=0 * frame.core) for frame in found.frames][:count]


def label_all(folder: Path) -> None:
    """Label the frames in random order, one line of ``labels.jsonl`` each."""
    path = folder / "labels.jsonl"
    done = set(labels(path)) if path.exists() else set()
    every = [frame for name in ("frames.h5", "judging.h5", "hot.h5") for frame in read(folder, name)]
    with path.open("a") as file:
        for frame in sorted(every, key=lambda frame: frame.hash):
            if frame.hash not in done:
                file.write(label(frame, LEVEL, threads=1).model_dump_json() + "\n")
                file.flush()


def read(folder: Path, name: str = "frames.h5") -> Frames:
    """Frames of a file of `sample`."""
    return Frames.read(folder / name)


def labels(path: Path) -> dict[str, Label]:
    """Labels by frame."""
    return {found.frame: found for found in map(Label.model_validate_json, path.read_text().splitlines())}


CONFIDENCE = 0.9
NETWORK = PotentialSettings(features=32, interactions=2, radial_functions=16, cutoff="5 angstrom", first_response=0.1)
UPDATES = 3000
"""Steps of the optimizer, the same for every arm and every number of frames."""

ARMS: dict[str, tuple[int, dict[str, str]]] = {
    "potential and field": (200, {}),
    "blind": (200, {"environment": "blind"}),
    "potential and field, 50": (50, {}),
    "on GFN2-xTB in the gas phase, 50": (50, {"baseline": "gfn2-xtb-gas"}),
    "on GFN2-xTB in the charges, 50": (50, {"baseline": "gfn2-xtb"}),
    "on GFN1-xTB in the gas phase, 50": (50, {"baseline": "gfn1-xtb-gas"}),
    "FieldSchNet": (200, {"representation": "fieldschnet"}),
    "SO3net": (200, {"representation": "so3net"}),
    "MM atoms as elements": (200, {"environment": "mm-elements"}),
}
"""Training frames, and what differs from `NETWORK`."""

MEMBERS = 3
"""Of each committee: networks with a seed and a validation fold of their own, whose errors one by one give the spread."""

COMMAND = [sys.executable, "-c", "from aiida_hqe.cli.root import main; main(prog_name='aiida-hqe')"]
"""The console script, with the interpreter that runs this."""


def learn(folder: Path, *arms: str) -> None:
    """Train and test what ``results.jsonl`` lacks; the baselines need the extra ``xtb``."""
    path = folder / "results.jsonl"
    done = {entry["arm"] for entry in results(path)} if path.exists() else set()
    for arm in arms or ARMS:
        if arm not in done:
            entry = outcome(folder, arm)
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")


def outcome(folder: Path, arm: str) -> dict[str, Any]:
    """Errors on the judging frames of a committee, by ``aiida-hqe train`` and ``predict``, and of its members one by one."""
    count, changes = ARMS[arm]
    place = folder / arm.replace(" ", "_").replace(",", "")
    place.mkdir(exist_ok=True)
    spread(labelled(folder), count + frames_needed(CONFIDENCE)).write(place / "training.h5")
    settings = {"potential": network(changes).model_dump(), "training": schedule(count).model_dump()}
    settings["training"]["held_out"] = 0.01
    (place / "settings.yaml").write_text(json.dumps(settings | {"confidence": CONFIDENCE}))
    judging = labelled(folder, "judging.h5")
    Frames(frame.unlabelled() for frame in judging).write(place / "judging.h5")
    before, committee = seconds_of_children(), place / "committee.safetensors"
    options = ["--settings", place / "settings.yaml", "--members", MEMBERS, "--seed", SEED, "--json"]
    summary = json.loads(command("train", place / "training.h5", "-o", committee, *options))
    trained = seconds_of_children() - before
    found = json.loads(command("predict", committee, place / "judging.h5", "--json"))
    assert summary["training_frames"] == count
    return {
        "arm": arm,
        "training_frames": count,
        "test_frames": len(judging),
        "updates": UPDATES,
        "cpu_seconds": trained,
        "committee": errors(found, judging) | {"within_bound": within_bound(found, judging)},
        "members": one_by_one(committee, judging),
    }


def one_by_one(path: Path, frames: list[Frame]) -> list[dict[str, float]]:
    """Errors of each member of a committee by itself."""
    members, forces, mm_forces = ("environment_energies", "environment_forces", "environment_mm_forces")
    found = Committee.load(path).predict_batch(frames)
    return [
        errors(
            [
                {
                    "energy": getattr(p, members)[k],
                    "forces": getattr(p, forces)[k],
                    "mm_forces": getattr(p, mm_forces)[k],
                }
                for p in found
            ],
            frames,
        )
        for k in range(MEMBERS)
    ]


def command(*arguments: object) -> str:
    """What a command prints on standard output; it must end well."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def seconds_of_children() -> float:
    """CPU seconds of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spread(frames: list[Frame], count: int) -> Frames:
    """Some of the frames, evenly spread."""
    return Frames(frames[i] for i in np.linspace(0, len(frames) - 1, count).round().astype(int))


def errors(found: list[dict[str, Any]], frames: list[Frame]) -> dict[str, float]:
    """Mean absolute errors (meV, meV/angstrom) of predictions as the command prints them."""
    energy = [one["energy"] - frame.environment_energy for one, frame in zip(found, frames, strict=True)]
    forces, mm_forces = (np.abs(np.concatenate(part)).mean() for part in zip(*deviations(found, frames), strict=True))
    return {
        "energy": 1e3 * float(np.mean(np.abs(energy))),
        "forces": 1e3 * float(forces),
        "mm_forces": 1e3 * float(mm_forces),
    }


def within_bound(found: list[dict[str, Any]], frames: list[Frame]) -> float:
    """Share of the frames whose force error is within its bound."""
    norms = [force_norm(*pair) for pair in deviations(found, frames)]
    return float(np.mean([norm <= one["bound"] for norm, one in zip(norms, found, strict=True)]))


def deviations(found: list[dict[str, Any]], frames: list[Frame]) -> list[tuple[Floats, Floats]]:
    """Errors of the forces on QM atoms and on charges, frame by frame."""
    return [
        (np.array(one["forces"]) - f.environment_forces, np.array(one["mm_forces"]) - f.environment_mm_forces)
        for one, f in zip(found, frames, strict=True)
    ]


def split(folder: Path) -> tuple[list[Frame], list[Frame]]:
    """Labelled frames of the first trajectories, in the order of time, and of the last."""
    good, last = labelled(folder), SEED + WALKERS - 1
    return [f for f in good if f.info["seed"] != last], [f for f in good if f.info["seed"] == last]


def labelled(folder: Path, name: str = "frames.h5") -> list[Frame]:
    """Those frames of a file that have a good label, with it."""
    known = labels(folder / "labels.jsonl")
    return [known[f.hash].apply(f) for f in read(folder, name) if f.hash in known and known[f.hash].status == "ok"]


def network(changes: dict[str, str]) -> PotentialSettings:
    """`NETWORK` with `changes`."""
    return NETWORK.model_validate({**NETWORK.model_dump(), **changes})


def schedule(count: int, updates: int = UPDATES) -> TrainingSettings:
    """Training of this many steps on `count` frames, a tenth of which decides which state is kept."""
    return TrainingSettings(members=10, batch_size=4, epochs=max(1, round(updates * 4 / count)), learning_rate=5e-3)


def member_file(folder: Path, arm: str, count: int, seed: int) -> Path:
    """Where a trained network is kept: those of one arm are members of a committee (`calibration.py`)."""
    return folder / f"{arm.replace(' ', '_')}_{count}_{seed}.safetensors"


def results(path: Path) -> list[dict[str, Any]]:
    """Entries of ``results.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(folder: Path) -> None:
    """Print and store the errors of committees, and mean and spread of those of their members."""
    table = {entry.pop("arm"): entry for entry in results(folder / "results.jsonl")}
    for arm, row in table.items():
        columns = []
        for name in ("forces", "mm_forces", "energy"):
            values = [member[name] for member in row["members"]]
            columns.append(
                f"{name} {np.mean(values):.2f} +- {np.std(values, ddof=1):.2f}, together {row['committee'][name]:.2f}"
            )
        print(f"{arm:34} {row['training_frames']:4d} frames: {'; '.join(columns)} (meV/angstrom, meV)")
    Path(__file__).with_suffix(".json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


STEPS: dict[str, Callable[[Path], None]] = {"sample": sample, "label": label_all, "learn": learn, "report": report}

if __name__ == "__main__":
    place, chosen = Path(sys.argv[1]), sys.argv[2:]
    if chosen[:1] == ["learn"]:
        learn(place, *chosen[1:])
    else:
        for name in chosen or STEPS:
            STEPS[name](place)
