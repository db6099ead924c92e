"""What a committee's disagreement is worth: coverage of calibrated intervals, ranking of errors, and what limits it.

``python benchmarks/accuracy/calibration.py FOLDER [train] [report]``

FOLDER is one that ``potentials.py FOLDER sample label`` has filled. Committees of four are trained on two of its first three
trajectories and judged on the one left and on its fourth, which none has seen, once for each of two `PARTITIONS` of the training
frames: each member leaves out a tenth of them, or a half; both at the same number of steps. The half was chosen among what
was tried with the first trajectory left (`TUNED`), so that judgement on that one is no judgement; it is on the others.

For coverage the test frames are split at random, `SPLITS` times, into half to calibrate on and half to judge: each interval is
then for frames exchangeable with those it was calibrated on, as the promise supposes. Asked beforehand: coverage of the 90 %
intervals of forces between 85 and 95 % (mean over splits), rank correlation of disagreement and true force error at least
0.5, and at least 70 % of the worst tenth within the flagged fifth.

What even a perfect disagreement could reach is simulated (`ceiling`). Error and deviations of the members on a frame are
drawn as Gaussian vectors in the molecule's own axes, with the covariances found, times a scale for each frame, as spread as the
errors found: what is not the scale is chance, which no disagreement of four members, nor of any number, can know. The ranking is
also printed for the test frames with a tenth from 600 K, where scales differ more.

Members are stored in FOLDER as they are trained; figures of the stored run: ``calibration.json``.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from potentials import SEED, UPDATES, labelled, member_file, network
from scipy.stats import spearmanr

from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.selection.calibration import calibrate, coverage
from aiida_hqe.selection.disagreement import force_disagreement, force_norm
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.train import train_member

MEMBERS, SPLITS, CONFIDENCE = 4, 200, 0.9
TUNED, JUDGED = 0, (1, 2)
PARTITIONS = {"a tenth": 0.1, "a half": 0.5}
DRAWS, HOT_SHARE = 400, 0.1

Fields = list[tuple[Floats, Floats]]
"""Errors of each member on each frame: QM (K, n_qm, 3) and MM (K, n_mm, 3)."""


def sets(folder: Path, test: int) -> tuple[list[Frame], list[Frame]]:
    """Training frames, and those of trajectory `test`."""
    frames = labelled(folder)
    return [f for f in frames if f.info["seed"] != SEED + test], [f for f in frames if f.info["seed"] == SEED + test]


def committee(folder: Path, test: int, partition: str) -> Committee:
    """Four members, each trained once and kept in a file."""
    training, _ = sets(folder, test)
    left_out = PARTITIONS[partition]
    epochs = round(UPDATES * 4 / len(training) * 0.9 / (1.0 - left_out))
    settings = TrainingSettings(members=MEMBERS, epochs=epochs, learning_rate=5e-3, left_out=left_out)
    arm = f"{partition} out, test {test}"
    parts = []
    for member in range(1, MEMBERS + 1):
        path = member_file(folder, arm, len(training), member)
        if not path.exists():
            train_member(Frames(training), network({}), settings, member=member, seed=SEED)[0].save(path)
            print(f"{path.name}: trained", flush=True)
        parts.append(Committee.load(path))
    return Committee.merge(parts)


def judge(test: list[Frame], members: Committee, hot: list[Frame], seed: int) -> dict[str, float]:
    """Figures of one committee."""
    predictions, fields = members.predict_batch(test), differences(members, test)
    errors, disagreements = of(fields)
    generator, covered = np.random.default_rng(seed), []
    for _ in range(SPLITS):
        ours, others = (list(part.tolist()) for part in np.array_split(generator.permutation(len(test)), 2))
        found = calibrate([test[i] for i in ours], [predictions[i] for i in ours], CONFIDENCE)
        covered.append(coverage(found, [test[i] for i in others], [predictions[i] for i in others]))
    resampled = generator.integers(len(test), size=(SPLITS, len(test)))
    chance = [rank(errors[i], disagreements[i]) for i in resampled]
    return {
        "test_frames": len(test),
        "force_error": 1e3 * float(errors.mean()),
        "disagreement": 1e3 * float(disagreements.mean()),
        "coverage": float(np.mean(covered)),
        "coverage_spread": float(np.std(covered)),
        "raw_coverage": calibrate(test, predictions, CONFIDENCE).raw_coverage,
        "rank_correlation": rank(errors, disagreements),
        "rank_correlation_spread": float(np.std(chance)),
        "worst_tenth_in_flagged_fifth": caught(errors, disagreements),
        "rank_correlation_two": ranking_of(fields, 2),
        "rank_correlation_three": ranking_of(fields, 3),
        "rank_correlation_qm": rank(*of([(forces, 0.0 * mm) for forces, mm in fields])),
        "rank_correlation_mm": rank(*of([(0.0 * forces, mm) for forces, mm in fields])),
        "cosine_of_member_errors": float(np.mean([cosine(*field) for field in fields])),
        **ceiling(test, fields, generator),
        **with_hot(errors, disagreements, *of(differences(members, hot)), generator),
    }


def differences(members: Committee, frames: list[Frame]) -> Fields:
    """Predicted less labelled forces of each member."""
    return [
        (p.environment_forces - f.environment_forces, p.environment_mm_forces - f.environment_mm_forces)
        for f, p in zip(frames, members.predict_batch(frames), strict=True)
    ]


def of(fields: Fields) -> tuple[Floats, Floats]:
    """Force errors N of the mean, and disagreements, (n,) each."""
    errors = [force_norm(forces.mean(0), mm.mean(0)) for forces, mm in fields]
    return np.array(errors), np.array([force_disagreement(forces, mm) for forces, mm in fields])


def rank(errors: Floats, disagreements: Floats) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(errors, disagreements).statistic)


def caught(errors: Floats, disagreements: Floats) -> float:
    """Share of the tenth of largest errors that lies in the fifth of largest disagreements."""
    worst = set(np.argsort(-errors)[: max(1, round(0.1 * len(errors)))].tolist())
    flagged = set(np.argsort(-disagreements)[: round(0.2 * len(errors))].tolist())
    return len(worst & flagged) / len(worst)


def ranking_of(fields: Fields, count: int) -> float:
    """Rank correlation of committees of fewer members, mean over all of this number."""
    chosen = [list(one) for one in itertools.combinations(range(MEMBERS), count)]
    return float(np.mean([rank(*of([(forces[one], mm[one]) for forces, mm in fields])) for one in chosen]))


def cosine(forces: Floats, mm_forces: Floats) -> float:
    """Mean cosine between the errors of two members: 1 if all err alike, 0 if each errs for itself."""
    errors = np.concatenate([forces, mm_forces], axis=1).reshape(len(forces), -1)
    products = errors @ errors.T / np.multiply.outer(*2 * [np.linalg.norm(errors, axis=1)])
    return float(products[np.triu_indices(len(forces), 1)].mean())


def ceiling(test: list[Frame], fields: Fields, generator: np.random.Generator) -> dict[str, float]:
    """What Gaussian members of a perfect model of uncertainty would reach: four of them, and the true scales themselves."""
    own = [(forces @ axes(frame).T).reshape(len(forces), -1) for frame, (forces, _) in zip(test, fields, strict=True)]
    error = np.array([one.mean(0) for one in own])
    deviations = np.concatenate([one - one.mean(0) for one in own])
    widths = [np.sqrt(np.linalg.eigvalsh(x.T @ x / len(x)).clip(0)) for x in (error, deviations)]
    by_chance = np.log(np.linalg.norm(generator.normal(size=(50_000, error.shape[1])) * widths[0], axis=1)).std()
    scale = np.sqrt(max(np.log(np.linalg.norm(error, axis=1)).std() ** 2 - by_chance**2, 0.0))
    figures: dict[str, list[float]] = {
        f"ceiling_{what}_{who}": [] for what in ("rank", "caught") for who in ("four", "all")
    }
    for _ in range(DRAWS):
        scales = np.exp(scale * generator.normal(size=len(test)))
        errors = scales * np.linalg.norm(generator.normal(size=error.shape) * widths[0], axis=1)
        drawn = generator.normal(size=(len(test), MEMBERS - 1, error.shape[1])) * widths[1]
        seen = {"four": scales * np.sqrt((drawn**2).sum((1, 2))), "all": scales}
        for who, disagreements in seen.items():
            figures[f"ceiling_rank_{who}"].append(rank(errors, disagreements))
            figures[f"ceiling_caught_{who}"].append(caught(errors, disagreements))
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    return means | {"ceiling_rank_four_spread": float(np.std(figures["ceiling_rank_four"])), "scale": float(scale)}


def axes(frame: Frame) -> Floats:
    """Axes of methanol (3, 3): along its C-O bond, its O-H bond in the first plane."""
    carbon, oxygen = (frame.positions[frame.numbers == number][0] for number in (6, 8))
    hydrogens = frame.positions[frame.numbers == 1]
    x = oxygen - carbon
    x /= np.linalg.norm(x)
    y = hydrogens[np.linalg.norm(hydrogens - oxygen, axis=1).argmin()] - oxygen
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def with_hot(
    errors: Floats, disagreements: Floats, hot: Floats, hot_disagreements: Floats, generator: np.random.Generator
) -> dict[str, float]:
    """Ranking where a tenth of the frames is from 600 K, drawn `DRAWS` times."""
    count, ranks, shares = round(len(errors) * HOT_SHARE / (1.0 - HOT_SHARE)), [], []
    for _ in range(DRAWS):
        chosen = generator.permutation(len(hot))[:count]
        both = np.concatenate([errors, hot[chosen]]), np.concatenate([disagreements, hot_disagreements[chosen]])
        ranks.append(rank(*both))
        shares.append(caught(*both))
    return {"with_600K_rank_correlation": float(np.mean(ranks)), "with_600K_worst_tenth": float(np.mean(shares))}


def train(folder: Path) -> None:
    """Train what FOLDER lacks."""
    for test in (*JUDGED, TUNED):
        for partition in PARTITIONS:
            committee(folder, test, partition)


def report(folder: Path) -> None:
    """Judge, store and print."""
    hot, fourth, table = labelled(folder, "hot.h5"), labelled(folder, "judging.h5"), {}
    for test in (TUNED, *JUDGED):
        for where, frames in (("tuned" if test == TUNED else "left", sets(folder, test)[1]), ("fourth", fourth)):
            for partition in PARTITIONS:
                name = f"{partition} left out, trajectory {test} left, {where}"
                table[name] = judge(frames, committee(folder, test, partition), hot, SEED)
            table[f"both, eight members, trajectory {test} left, {where}"] = together(folder, test, frames)
    for name, row in table.items():
        print(name, *(f"{key} {value:.3g}" for key, value in row.items()), sep="\n  ")
    Path(__file__).with_suffix(".json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


def together(folder: Path, test: int, frames: list[Frame]) -> dict[str, float]:
    """Ranking by the members of both partitions as one committee."""
    fields = zip(*(differences(committee(folder, test, partition), frames) for partition in PARTITIONS), strict=True)
    errors, disagreements = of([(np.concatenate([a, c]), np.concatenate([b, d])) for (a, b), (c, d) in fields])
    return {
        "force_error": 1e3 * float(errors.mean()),
        "rank_correlation": rank(errors, disagreements),
        "worst_tenth_in_flagged_fifth": caught(errors, disagreements),
    }


STEPS = {"train": train, "report": report}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for step in sys.argv[2:] or STEPS:
        STEPS[step](Path(sys.argv[1]))
