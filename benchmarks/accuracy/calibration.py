"""What a committee's disagreement is worth: coverage of calibrated intervals, and ranking of errors.

``python benchmarks/accuracy/calibration.py FOLDER``

FOLDER is one that ``potentials.py FOLDER sample label`` has filled. A committee of four is trained on the first
trajectories and judged on the last, which it has not seen. For coverage those frames are split at random, `SPLITS` times,
into half to calibrate on and half to judge: each interval is then for frames exchangeable with those it was calibrated on, as
the promise supposes. Asked beforehand: coverage of the 90 % intervals of forces between 85 and 95 %
(mean over splits), rank correlation of disagreement and true force error at least 0.5, and at least 70 % of the worst tenth
within the flagged fifth.

Members are stored in FOLDER as they are trained; figures of the stored run: ``calibration.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from potentials import SEED, member_file, network, schedule, split
from scipy.stats import spearmanr

from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.selection.calibration import calibrate, coverage, force_errors
from aiida_hqe.training.train import train_member

MEMBERS, SPLITS, CONFIDENCE = 4, 200, 0.9
ARM = "potential and field"


def committee(folder: Path, training: list[Frame]) -> Committee:
    """Four members, each trained once and kept in a file; those that `potentials.py` trained are used."""
    parts = []
    for member in range(1, MEMBERS + 1):
        path = member_file(folder, ARM, len(training), member)
        if not path.exists():
            settings = schedule(len(training))
            train_member(Frames(training), network({}), settings, member=member, seed=SEED)[0].save(path)
        parts.append(Committee.load(path))
    return Committee.merge(parts)


def judge(training: list[Frame], test: list[Frame], members: Committee, seed: int) -> dict[str, float]:
    """Figures of one committee."""
    predictions = members.predict_batch(test)
    errors, disagreements = force_errors(test, predictions, "environment")
    generator, covered, widths = np.random.default_rng(seed), [], []
    for _ in range(SPLITS):
        order = generator.permutation(len(test))
        ours, others = (list(part.tolist()) for part in np.array_split(order, 2))
        found = calibrate([test[i] for i in ours], [predictions[i] for i in ours], CONFIDENCE)
        covered.append(coverage(found, [test[i] for i in others], [predictions[i] for i in others]))
        widths.append(found.force_factor)
    return {
        "training_frames": len(training),
        "test_frames": len(test),
        "force_error": 1e3 * float(errors.mean()),
        "coverage": float(np.mean(covered)),
        "coverage_spread": float(np.std(covered)),
        "factor": float(np.mean(widths)),
        "raw_coverage": calibrate(test, predictions, CONFIDENCE).raw_coverage,
        "rank_correlation": float(spearmanr(errors, disagreements).statistic),
        "worst_tenth_in_flagged_fifth": caught(errors, disagreements),
    }


def caught(errors: Floats, disagreements: Floats) -> float:
    """Share of the tenth of largest errors that lies in the fifth of largest disagreements."""
    worst = set(np.argsort(-errors)[: max(1, round(0.1 * len(errors)))].tolist())
    flagged = set(np.argsort(-disagreements)[: round(0.2 * len(errors))].tolist())
    return len(worst & flagged) / len(worst)


def main(folder: Path) -> None:
    """Train, judge, store and print."""
    training, test = split(folder)
    table = judge(training, test, committee(folder, training), SEED)
    for name, value in table.items():
        print(f"{name}: {value:.3g}")
    Path(__file__).with_suffix(".json").write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
