"""How many labels each strategy of selection needs, on a pool with a rare region.

``python benchmarks/accuracy/selection.py FOLDER [run] [report]``

FOLDER is one that ``potentials.py FOLDER sample label`` has filled. The pool: methanol in water at 300 K (two trajectories)
and, a tenth of it, at 600 K. Every arm starts from the same `FIRST` random frames of the pool and labels `BATCH` more in
each of `ROUNDS` rounds, with the program's own selection; committees of four small networks are trained on from round to
round, as in a campaign. The target force error is so small that every frame counts as uncertain: the question is what to
label next. Arms: ``random``, ``farthest_point``, ``committee`` (largest bounds first), ``committee + diversity`` (distance
times bound). And arms that know what no selection can, to see what there is to gain on this pool (added after the first four
were run): ``true error`` and ``true error + diversity`` have the committee's true errors in place of its disagreement, ``rare
region first`` labels every frame from 600 K before any other, the most diverse first.

Fixed before the first run (five seeds each; after they had been run with today's network, five more to confirm what they said):

- outcome: labels at which an arm's error in the rare region (mean force error N of the committee's mean on 600 K frames of
  other trajectories) first reaches the error that the random arm ends with (mean over seeds), linear between rounds; an arm
  that does not reach it counts as the final number plus one batch, and how often that was is said. Fewer is better; an arm
  beats another if its mean is smaller by more than twice the standard error of the paired difference over seeds;
- penalty: error on 300 K frames of a third trajectory after the last round, relative to that of the random arm.

Results are appended to ``selection.jsonl`` arm by arm; figures of the stored run: ``selection.json``.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from potentials import HOT_FRAMES, SEED, WALKERS, labelled, schedule, split

from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import look
from aiida_hqe.selection.calibration import Calibration
from aiida_hqe.selection.disagreement import force_disagreement, force_norm
from aiida_hqe.selection.select import select
from aiida_hqe.selection.settings import SelectionSettings
from aiida_hqe.training.train import train_member

FIRST, BATCH, ROUNDS, SEEDS, MEMBERS = 16, 8, 4, 10, 4
NETWORK = PotentialSettings(features=16, interactions=1, radial_functions=12, cutoff="5 angstrom", first_response=0.1)
UPDATES, WARM_UPDATES = 300, 100
RARE_SHARE = 0.1

ARMS: dict[str, dict[str, object]] = {
    "random": {"strategy": "random"},
    "farthest_point": {"strategy": "farthest_point"},
    "committee": {"strategy": "committee", "diversity": False},
    "committee + diversity": {"strategy": "committee", "diversity": True},
    "true error": {"strategy": "committee", "diversity": False},
    "true error + diversity": {"strategy": "committee", "diversity": True},
    "rare region first": {"strategy": "committee", "diversity": True},
}

UNIT = Calibration(
    confidence=0.9,
    level="environment",
    force_factor=1.0,
    force_floor=0.0,
    n_frames=0,
    force_error=0.0,
    force_error_uncertainty=0.0,
    coverage=0.0,
    coverage_upper_half=0.0,
    raw_coverage=0.0,
    rank_correlation=0.0,
    errors=[],
    disagreements=[],
)
"""The bound is the disagreement itself: a factor would change no order."""


class Seen:
    """Frames, and what a network sees of them, worked out once; all predicted in one go."""

    def __init__(self, frames: list[Frame]) -> None:
        self.frames, self.surroundings = frames, [look(frame, NETWORK) for frame in frames]
        rows = [one.inputs(frame) for frame, one in zip(frames, self.surroundings, strict=True)]
        self.inputs = [torch.from_numpy(np.stack(column)).float() for column in zip(*rows, strict=True)]
        self.numbers = torch.from_numpy(frames[0].numbers.copy())

    def forces(self, committee: Committee) -> list[tuple[Floats, Floats]]:
        """Forces (K, n, 3) and (K, m, 3) of each frame."""
        by_member = []
        for member in committee.members:
            network = build(committee.settings, committee.charge, 0)
            network.load_state_dict(dict(member.networks["environment"].state))
            inputs = [tensor.clone().requires_grad_() for tensor in self.inputs]
            found = torch.autograd.grad(network(self.numbers, *inputs).sum(), inputs)
            by_member.append([tensor.double().numpy() for tensor in found])
        stacked = [np.stack(tensors) for tensors in zip(*by_member, strict=True)]
        return [
            (one.qm_forces(*(t[:, i] for t in stacked)), one.mm_forces(*(t[:, i] for t in stacked[1:])))
            for i, one in enumerate(self.surroundings)
        ]

    def error(self, committee: Committee) -> float:
        """Mean force error N of the committee's mean, meV/angstrom."""
        return 1e3 * float(
            np.mean(
                [
                    force_norm(forces.mean(0) - f.environment_forces, mm_forces.mean(0) - f.environment_mm_forces)
                    for f, (forces, mm_forces) in zip(self.frames, self.forces(committee), strict=True)
                ]
            )
        )


def train(frames: list[Frame], seed: int, before: Committee | None) -> Committee:
    """A committee, from scratch or trained on."""
    settings = schedule(len(frames), UPDATES)
    settings = settings.model_copy(update={"warm_epochs": round(WARM_UPDATES * 4 / len(frames))})
    members = [
        train_member(Frames(frames), NETWORK, settings, member=member, seed=seed, initial=before)[0]
        for member in range(MEMBERS)
    ]
    return Committee.merge(members)


def begin(folder: Path, frames: list[Frame], seed: int) -> Committee:
    """The committee that all arms of a seed start from, kept in a file."""
    path = folder / f"start_{seed}.safetensors"
    if not path.exists():
        train(frames, seed, None).save(path)
    return Committee.load(path)


def judgement(arm: str, frame: Frame, forces: Floats, mm_forces: Floats) -> float:
    """What an arm goes by: the disagreement of members that predict these forces, or what only an arm for comparison knows."""
    if arm == "rare region first":
        return 1.0 if is_rare(frame) else 1e-3
    if arm.startswith("true error"):
        return force_norm(forces.mean(0) - frame.environment_forces, mm_forces.mean(0) - frame.environment_mm_forces)
    return force_disagreement(forces, mm_forces)


def is_rare(frame: Frame) -> bool:
    """Whether it is from 600 K."""
    return int(frame.info["seed"]) >= SEED + WALKERS


def choose(arm: str, pool: Seen, known: list[Frame], committee: Committee, seed: int) -> list[Frame]:
    """The next batch."""
    judged = [
        frame.replace(info={**frame.info, "disagreement": judgement(arm, frame, *forces)})
        for frame, forces in zip(pool.frames, pool.forces(committee), strict=True)
    ]
    target = "0.001 meV/angstrom"
    settings = SelectionSettings.model_validate({"target_force_error": target, "batch": BATCH, **ARMS[arm]})
    return list(select(Frames(judged), UNIT, settings, known=known, seed=seed).frames)


def run(folder: Path) -> None:
    """All arms of all seeds; what is in ``selection.jsonl`` already is not repeated."""
    path = folder / "selection.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(entry["seed"], entry["arm"]) for entry in map(json.loads, lines)}
    pool, common, rare = sets(folder)
    for arm, seed in itertools.product(ARMS, range(SEEDS)):
        if (seed, arm) in done:
            continue
        start, order = time.process_time(), np.random.default_rng(seed).permutation(len(pool.frames))[:FIRST]
        known = [pool.frames[i] for i in order.tolist()]
        committee = begin(folder, known, seed)
        curve = [score(known, committee, common, rare)]
        for number in range(ROUNDS):
            known += choose(arm, pool, known, committee, 100 * seed + number)
            committee = train(known, seed, committee)
            curve.append(score(known, committee, common, rare))
        with path.open("a") as file:
            file.write(json.dumps({"seed": seed, "arm": arm, "curve": curve}) + "\n")
        print(f"{arm}, seed {seed}: {time.process_time() - start:.0f} CPU s", flush=True)


def score(known: list[Frame], committee: Committee, common: Seen, rare: Seen) -> dict[str, float]:
    """Labels, how many of them are of the rare region, and errors in both regions."""
    hot = sum(is_rare(frame) for frame in known)
    return {"labels": len(known), "rare": hot, "rare_error": rare.error(committee), "error": common.error(committee)}


def sets(folder: Path) -> tuple[Seen, Seen, Seen]:
    """Pool, and test frames at 300 K and at 600 K."""
    cold, common = split(folder)
    hot = labelled(folder, "hot.h5")
    ours = [frame for frame in hot if frame.info["seed"] == SEED + WALKERS]
    others = [frame for frame in hot if frame.info["seed"] != SEED + WALKERS]
    share = round(RARE_SHARE / (1 - RARE_SHARE) * len(cold))
    assert len(ours) >= share - 1, f"{share} frames of the rare region were expected (got {len(ours)} of {HOT_FRAMES})"
    return Seen([*cold, *ours[:share]]), Seen(common), Seen(others)


def reached(curve: list[dict[str, float]], goal: float) -> float:
    """Labels at which the error in the rare region first falls to `goal`."""
    for before, after in itertools.pairwise(curve):
        if before["rare_error"] <= goal:
            return before["labels"]
        if after["rare_error"] <= goal:
            part = (before["rare_error"] - goal) / (before["rare_error"] - after["rare_error"])
            return before["labels"] + part * (after["labels"] - before["labels"])
    return curve[-1]["labels"] + BATCH


def report(folder: Path) -> None:
    """Print and store the outcome."""
    entries = [json.loads(line) for line in (folder / "selection.jsonl").read_text().splitlines()]
    curves = {arm: [entry["curve"] for entry in entries if entry["arm"] == arm] for arm in ARMS}
    goal = float(np.mean([curve[-1]["rare_error"] for curve in curves["random"]]))
    labels = {arm: np.array([reached(curve, goal) for curve in of_arm]) for arm, of_arm in curves.items()}
    usual = np.array([curve[-1]["error"] for curve in curves["random"]])
    table = {}
    for arm, of_arm in curves.items():
        paired = labels[arm] - labels["farthest_point"]
        final = np.array([curve[-1]["error"] for curve in of_arm])
        table[arm] = {
            "seeds": len(of_arm),
            "labels_to_reach": [float(labels[arm].mean()), standard_error(labels[arm])],
            "not_reached": int(sum(curve[-1]["labels"] < one for curve, one in zip(of_arm, labels[arm], strict=True))),
            "against_farthest_point": [float(paired.mean()), standard_error(paired)],
            "rare_labels": float(np.mean([curve[-1]["rare"] for curve in of_arm])),
            "rare_error": spread([curve[-1]["rare_error"] for curve in of_arm]),
            "error": spread(final.tolist()),
            "penalty": spread((final / usual - 1.0).tolist()),
        }
        print(arm, json.dumps(table[arm]))
    print(f"error of random to reach in the rare region: {goal:.1f} meV/angstrom")
    document = {"goal": goal, "arms": table, "curves": dict(curves.items())}
    Path(__file__).with_suffix(".json").write_text(json.dumps(document, sort_keys=True) + "\n")


def spread(values: list[float]) -> list[float]:
    """Mean and standard error."""
    return [float(np.mean(values)), standard_error(np.array(values))]


def standard_error(values: Floats) -> float:
    """Of the mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


STEPS = {"run": run, "report": report}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:] or STEPS:
        STEPS[name](Path(sys.argv[1]))
