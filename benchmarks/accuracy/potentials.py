"""What the network gains from seeing the charges, and from a baseline.

``python benchmarks/accuracy/potentials.py FOLDER [sample] [label] [learn] [report]``

Methanol in TIP3P water at 300 K, sampled by the force field from three independent starts; environment labels (PBE/def2-SVP,
density fitting, grid level 2, in the point charges) of every frame. Single networks are trained on frames of the first two
trajectories and tested on the third, each with three seeds. Fewer labels than frames will do: what is labelled is used.
The folder also holds a few frames of the same at 600 K, for ``selection.py``, which reads it as ``calibration.py`` does.

Each step writes its result into FOLDER and goes on where it was interrupted. Figures of the stored run: ``potentials.json``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from aiida_hqe.baseline.baseline import with_baseline
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.labels import Label
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.train import train_member

SEED = 2026
WALKERS, EACH = 3, 100
"""Independent trajectories, and frames of each; those of the last are the test set."""

HOT, HOT_FRAMES = 600.0, (22, 18, 18)
"""Temperature (K) of a region that is rare at 300 K, and frames of its trajectories; those of the first are not for tests."""

LEVEL = Level.model_validate({"environment": {"xc": "pbe", "basis": "def2-svp", "grid_level": 2, "density_fit": True}})


def sample(folder: Path) -> None:
    """Frames of `WALKERS` trajectories, one every 50 fs, taken in turns: a training set of any size has both."""
    if not (folder / "frames.h5").exists():
        found = [trajectory(folder, SEED + walker, EACH) for walker in range(WALKERS)]
        turns = [frame for group in zip(*found[:-1], strict=True) for frame in group]
        Frames([*turns, *found[-1]]).write(folder / "frames.h5")
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
    with path.open("a") as file:
        for frame in sorted([*read(folder), *read(folder, "hot.h5")], key=lambda frame: frame.hash):
            if frame.hash not in done:
                file.write(label(frame, LEVEL, threads=1).model_dump_json() + "\n")
                file.flush()


def read(folder: Path, name: str = "frames.h5") -> Frames:
    """Frames of a file of `sample`."""
    return Frames.read(folder / name)


def labels(path: Path) -> dict[str, Label]:
    """Labels by frame."""
    return {found.frame: found for found in map(Label.model_validate_json, path.read_text().splitlines())}


SEEDS = (1, 2, 3)
NETWORK = PotentialSettings(features=32, interactions=2, radial_functions=16, cutoff="5 angstrom", first_response=0.1)
UPDATES = 3000
"""Steps of the optimizer, the same for every arm and every number of frames."""

ARMS: dict[str, tuple[int, dict[str, str]]] = {
    "potential and field": (200, {}),
    "blind": (200, {"environment": "blind"}),
    "potential and field, 50": (50, {}),
    "on GFN2-xTB, 50": (50, {"baseline": "gfn2-xtb"}),
    "FieldSchNet": (200, {"representation": "fieldschnet"}),
    "on GFN1-xTB, 50": (50, {"baseline": "gfn1-xtb"}),
    "blind, on GFN2-xTB, 50": (50, {"environment": "blind", "baseline": "gfn2-xtb"}),
    "SO3net": (200, {"representation": "so3net"}),
    "MM atoms as elements": (200, {"environment": "mm-elements"}),
}
"""Training frames, and what differs from `NETWORK`."""


def learn(folder: Path) -> None:
    """Train and test what ``results.jsonl`` lacks, arm by arm; the baselines need the extra ``xtb``."""
    path = folder / "results.jsonl"
    done = {(entry["arm"], entry["seed"]) for entry in results(path)} if path.exists() else set()
    training, test = split(folder)
    for arm, (count, changes) in ARMS.items():
        for seed in SEEDS:
            if (arm, seed) not in done:
                with path.open("a") as file:
                    chosen = training[:: max(1, len(training) // count)][:count]
                    file.write(json.dumps(outcome(folder, chosen, test, arm, changes, seed)) + "\n")


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


def outcome(
    folder: Path, training: list[Frame], test: list[Frame], arm: str, changes: dict[str, str], seed: int
) -> dict[str, float | str]:
    """Mean absolute errors of one network (meV/angstrom, meV), and the CPU seconds of its training."""
    potential, start = network(changes), time.process_time()
    frames = with_baseline(training, potential.baseline)
    committee, _ = train_member(frames, potential, schedule(len(training)), member=seed, seed=SEED)
    seconds = time.process_time() - start
    committee.save(member_file(folder, arm, len(training), seed))
    found = [committee.predict(frame) for frame in test]
    energies = [
        float(p.environment_energies[0]) - float(f.environment_energy or 0.0) for p, f in zip(found, test, strict=True)
    ]
    return {
        "arm": arm,
        "seed": seed,
        "training_frames": len(training),
        "test_frames": len(test),
        "energy": 1e3 * float(np.mean(np.abs(energies))),
        "forces": 1e3
        * mean_error([(p.environment_forces[0], f.environment_forces) for p, f in zip(found, test, strict=True)]),
        "mm_forces": 1e3
        * mean_error([(p.environment_mm_forces[0], f.environment_mm_forces) for p, f in zip(found, test, strict=True)]),
        "updates": UPDATES,
        "cpu_seconds": seconds,
    }


def mean_error(pairs: list[tuple[np.ndarray, np.ndarray | None]]) -> float:
    """Mean absolute error of force components."""
    return float(
        np.mean(np.concatenate([np.abs(found - wanted).ravel() for found, wanted in pairs if wanted is not None]))
    )


def results(path: Path) -> list[dict[str, float | str]]:
    """Entries of ``results.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(folder: Path) -> None:
    """Print and store mean and spread over the seeds, and the ratios that matter."""
    entries, table = results(folder / "results.jsonl"), {}
    for arm in ARMS:
        of_arm = [entry for entry in entries if entry["arm"] == arm]
        if of_arm:
            numbers = {name: [float(entry[name]) for entry in of_arm] for name in of_arm[0] if name != "arm"}
            table[arm] = {
                name: {"mean": np.mean(v), "spread": np.std(v, ddof=1) if len(v) > 1 else None, "n": len(v)}
                for name, v in numbers.items()
            }
    for arm, row in table.items():
        columns = (
            f"{name} {row[name]['mean']:.2f} +- {row[name]['spread'] or 0.0:.2f}"
            for name in ("forces", "mm_forces", "energy")
        )
        frames, seeds = row["training_frames"]["mean"], row["seed"]["n"]
        print(f"{arm:26} {frames:4.0f} frames, {seeds} seeds: {', '.join(columns)} (meV/angstrom, meV)")
    (Path(__file__).with_suffix(".json")).write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


STEPS = {"sample": sample, "label": label_all, "learn": learn, "report": report}

if __name__ == "__main__":
    place = Path(sys.argv[1])
    for name in sys.argv[2:] or STEPS:
        STEPS[name](place)
