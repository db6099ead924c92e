"""What forces in the labels buy: ``python benchmarks/accuracy/forces_learning.py FOLDER``.

Methanol in water at 300 K, sampled by the force field from four independent starts; the QM region is methanol, its O-H end
the quantum core. Every frame is labelled once: energies and forces of the environment (density-fitted PBE/def2-SVP, grid
level 2) and of the target (CCSD(T) in it, frozen core, analytic forces). The fourth start's frames are the test set. The
target is learned as a correction to the environment's network (``learn: difference``) from the first 8, 16, 32 ... labels of
the other three, once from target energies alone and once from target energies and forces; the environment's energies and
forces, which every label has, teach both arms, and both stand on the same network of the environment.

Each step writes its result into FOLDER and goes on where it was interrupted; ``forces_learning.json`` beside this file holds
the result of one run.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.labels import Label
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.selection.disagreement import force_norm
from aiida_hqe.training.difference import fit_difference
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import Targets, difference
from aiida_hqe.training.train import train_member, validation_fold

SEED = 2026
SEEDS, SIZES = (1, 2, 3), (8, 16, 32, 48)
"""Of the networks; and numbers of labels, validation folds included."""
ARMS = ("energies", "energies and forces")
"""What of the target level is learned."""

POTENTIAL = PotentialSettings(features=32, interactions=2, radial_functions=16, cutoff="5 angstrom")
TRAINING = TrainingSettings(epochs=200)
WALKERS, EACH = 4, 22
"""Independent trajectories, and frames of each; those of the last are the test set."""

TARGET = Level.model_validate(
    {
        "environment": {"xc": "pbe", "basis": "def2-svp", "grid_level": 2, "density_fit": True},
        "core": {"method": "ccsd(t)", "frozen_core": True},
        "embedding": {"core_orbitals": [5]},
        "forces": "analytic",
    }
)


def sample(folder: Path) -> None:
    """Frames of `WALKERS` trajectories, one every 100 fs, taken in turns: a training set of any size has all but the last."""
    from aiida_hqe.campaign import template
    from aiida_hqe.campaign.check import check
    from aiida_hqe.dynamics.prepare import prepare
    from aiida_hqe.dynamics.sample import sample as run

    template.copy("methanol-water", folder)
    checked = check(folder / "campaign.yaml")
    settings = checked.campaign.sampling.model_copy(update={"equilibration_steps": 6000})
    found = []
    for walker in range(WALKERS):
        start = prepare(checked.assembly, settings, SEED + walker)
        run_of = run(start, settings, None, seed=SEED + walker, steps=200 * EACH, interval=200)
        found.append(list(run_of.frames)[:EACH])
    turns = [frame for group in zip(*found[:-1], strict=True) for frame in group]
    Frames([*turns, *found[-1]]).write(folder / "frames.h5")


def label_all(folder: Path, name: str, level: Level) -> None:
    """Label the frames, one line of ``<name>.jsonl`` each: the label, and the CPU seconds it took."""
    path = folder / f"{name}.jsonl"
    done = set(labels(path)) if path.exists() else set()
    with path.open("a") as file:
        frames = Frames.read(folder / "frames.h5")
        for frame in [*frames[-EACH:], *frames[:-EACH]]:
            if frame.hash in done:
                continue
            start = time.process_time()
            found = label(frame, level, threads=1)
            seconds = time.process_time() - start
            file.write(json.dumps({"cpu_seconds": seconds, "label": found.model_dump(mode="json")}) + "\n")
            file.flush()


def labels(path: Path) -> dict[str, tuple[Label, float]]:
    """Labels and their CPU seconds by frame."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return {e["label"]["frame"]: (Label.model_validate(e["label"]), e["cpu_seconds"]) for e in entries}


def labelled(folder: Path) -> tuple[list[Frame], list[Frame]]:
    """Labelled frames to train on, in the order of the walkers' turns, and to test on."""
    found, frames = labels(folder / "target.jsonl"), Frames.read(folder / "frames.h5")
    parts = frames[:-EACH], frames[-EACH:]
    train, test = ([found[frame.hash][0].apply(frame) for frame in part if frame.hash in found] for part in parts)
    return train, test


def learn(folder: Path) -> None:
    """Committees of one member for each seed, number of labels and arm."""
    train, _ = labelled(folder)
    (folder / "committees").mkdir(exist_ok=True)
    for seed, n in itertools.product(SEEDS, SIZES):
        paths = [committee_path(folder, seed, n, arm) for arm in ARMS]
        if n > len(train) or all(path.exists() for path in paths):
            continue
        frames = Frames(train[:n])
        committee, _ = train_member(frames, POTENTIAL, TRAINING, member=0, seed=seed)
        without_target_forces(committee, frames).save(paths[0])
        committee.save(paths[1])


def committee_path(folder: Path, seed: int, n: int, arm: str) -> Path:
    """Where a committee is kept."""
    return folder / "committees" / f"seed {seed}, {n} labels, {arm}.safetensors"


def without_target_forces(committee: Committee, frames: Frames) -> Committee:
    """The same environment network with a correction learned from target energies alone."""
    (member,) = committee.members
    network = build(POTENTIAL, frames[0].charge, seed=0)
    network.load_state_dict(dict(member.networks["environment"].state))
    wanted = [Targets(difference(frame).energy, None, None) for frame in frames]
    held = validation_fold(frames, member.number, TRAINING.members)
    found = fit_difference(network, frames, wanted, held, TRAINING).network
    target = Network(found.state, found.references, has_forces=False)
    networks = {**member.networks, "target": target}
    return committee.replace(members=[Member(member.number, member.seed, networks, member.summary)])


def errors(committee: Committee, test: Sequence[Frame]) -> dict[str, float]:
    """Mean absolute errors of energies (meV) and mean force errors N (meV/angstrom) of a committee's one member.

    Of the target, of its difference to the environment, and of the environment.
    """
    rows = []
    for frame in test:
        found = committee.predict(frame)
        energy = found.energies[0] - frame.energy
        low_energy = found.environment_energies[0] - frame.environment_energy
        force, mm = found.forces[0] - frame.forces, found.mm_forces[0] - frame.mm_forces
        low_force = found.environment_forces[0] - frame.environment_forces
        low_mm = found.environment_mm_forces[0] - frame.environment_mm_forces
        rows.append(
            {
                "energy": abs(energy),
                "force": force_norm(force, mm),
                "difference_energy": abs(energy - low_energy),
                "difference_force": force_norm(force - low_force, mm - low_mm),
                "environment_energy": abs(low_energy),
                "environment_force": force_norm(low_force, low_mm),
            }
        )
    return {name: 1e3 * float(np.mean([row[name] for row in rows])) for name in rows[0]}


def cost(folder: Path) -> dict[str, float]:
    """CPU seconds of a label with target forces and without, over the first three frames of the test set."""
    path = folder / "cost.json"
    if path.exists():
        found: dict[str, float] = json.loads(path.read_text())
        return found
    frames = Frames.read(folder / "frames.h5")[-EACH:][:3]
    seconds = {}
    for name, forces in (("energies", "none"), ("energies and forces", "analytic")):
        start = time.process_time()
        for frame in frames:
            label(frame, TARGET.model_copy(update={"forces": forces}), threads=1)
        seconds[name] = (time.process_time() - start) / len(frames)
    path.write_text(json.dumps(seconds))
    return seconds


def report(folder: Path) -> dict[str, Any]:
    """Means over seeds with their standard errors, what differences there are to learn, and what a label costs."""
    _, test = labelled(folder)
    table = []
    for n, arm in itertools.product(SIZES, ARMS):
        paths = [committee_path(folder, seed, n, arm) for seed in SEEDS]
        found = [errors(Committee.load(path), test) for path in paths if path.exists()]
        if found:
            table.append(
                {"labels": n, "arm": arm, "seeds": len(found), **{name: mean_of(found, name) for name in found[0]}}
            )
    differences = [difference(frame) for frame in test]
    energies = np.array([one.energy for one in differences])
    forces = [force_norm(one.forces, one.mm_forces) for one in differences]
    untrained = {
        "difference_energy": round(1e3 * float(np.abs(energies - energies.mean()).mean()), 2),
        "difference_force": round(1e3 * float(np.mean(forces)), 2),
    }
    return {
        "units": "meV and meV/angstrom: mean over seeds, standard error of that mean",
        "test_frames": len(test),
        "nothing learned": untrained,
        "cpu_seconds_of_a_label": cost(folder),
        "errors": table,
    }


def mean_of(found: list[dict[str, float]], name: str) -> list[float]:
    """Mean over seeds, and its standard error."""
    values = [one[name] for one in found]
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return [round(float(np.mean(values)), 2), round(float(error), 2)]


if __name__ == "__main__":
    at = Path(sys.argv[1])
    at.mkdir(exist_ok=True)
    if not (at / "frames.h5").exists():
        sample(at)
    label_all(at, "target", TARGET)
    learn(at)
    result = report(at)
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
