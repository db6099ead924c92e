"""Make a profile with many labelled frames: one campaign whose rounds flag, label, divide and learn from a batch each.

    python benchmarks/scale/make_profile.py FOLDER [--frames 100000] [--batch 500] [--charges 300]

The nodes and links are those of a real campaign (`tests/campaign_graph.py` makes the same by hand), and the calculations'
contents are made by the functions that the campaign calls. Only the numbers are random: energies, forces, predictions. Each round
expects its flagged frames and judges its committee on the held-out labels; at the end all are judged on the final ones. Committee
files have no tensors here.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

GEOMETRY = np.array(
    [
        [-0.75, 0, 0.11],
        [0.66, 0.01, -0.11],
        [-1.03, 0.1, 1.17],
        [-1.2, -0.94, -0.24],
        [-1.2, 0.86, -0.38],
        [1.04, 0.9, 0.1],
    ]
)
NUMBERS = np.array([6, 8, 1, 1, 1, 1])
MEMBERS = 4


def main() -> None:
    """Make the profile and print what is in it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=500, help="labelled frames of a round")
    parser.add_argument("--charges", type=int, default=300)
    parser.add_argument("--sampled", type=int, default=1, help="sampled frames for each that is labelled")
    arguments = parser.parse_args()
    from aiida_hqe.cli import profile

    profile.enter(arguments.folder)
    code = profile.open_profile()
    start = time.process_time()
    made = Campaign(arguments, code.computer)
    for number in range(arguments.frames // arguments.batch):
        made.round(number)
    made.finish()
    print(json.dumps({**made.found, "cpu_seconds": time.process_time() - start}))


class Material:
    """Frames, labels and predictions with random numbers."""

    def __init__(self, *, charges: int, seed: int) -> None:
        self.charges = charges
        self._hashes: dict[int, list[str]] = {}
        self.rng = np.random.default_rng(seed)
        self.surroundings = self.rng.uniform(-9, 9, (charges, 3)) + 1.5
        self.mm_numbers = np.tile([8, 1, 1], charges // 3 + 1)[:charges]

    def frames(self, count: int, number: int) -> Any:
        """So many frames, unlabelled, as a sampling job leaves them."""
        from aiida_hqe.frames import Frame, Frames

        qm = GEOMETRY + self.rng.normal(0, 0.05, (count, 6, 3))
        mm = self.surroundings + self.rng.normal(0, 0.4, (count, self.charges, 3))
        charges = np.where(self.mm_numbers == 8, -0.834, 0.417) * self.rng.uniform(0.5, 1, (count, self.charges))
        spread = self.rng.gamma(4, 0.02, (count, MEMBERS))
        return Frames(
            Frame(
                numbers=NUMBERS, positions=qm[i], charge=0, spin=0, core=[0, 1, 0, 0, 0, 1], mm_numbers=self.mm_numbers,
                mm_positions=mm[i], mm_charges=charges[i],
                info={
                    "step": 10 * i, "walker": i % 4, "seed": number, "temperature": 300.0 + spread[i, 0],
                    "disagreement": float(spread[i].mean()), "energy_disagreement": float(spread[i, 0]),
                    **{f"member_{k}": float(spread[i, k]) for k in range(MEMBERS)},
                },
            )
            for i in range(count)
        )  # fmt: skip

    def labelled(self, frames: Any) -> Any:
        """The frames with the labels that a label job would give them."""
        from aiida_hqe.frames import Frames

        forces = self.rng.normal(0, 1, (len(frames), 6, 3))
        mm_forces = self.rng.normal(0, 0.01, (len(frames), self.charges, 3))
        return Frames(
            frame.replace(
                environment_energy=-3140.0 + forces[i, 0, 0], environment_forces=forces[i], environment_mm_forces=mm_forces[i],
                energy=-3142.0 + forces[i, 0, 0], info={**frame.info, "seconds": 1.5, "core_seconds": 0.5},
            )
            for i, frame in enumerate(frames)
        )  # fmt: skip

    def predictions(self, frames: Any) -> list[Any]:
        """What a committee says of the frames."""
        from aiida_hqe.predictions import Prediction

        forces = self.rng.normal(0, 1, (MEMBERS, 6, 3))
        mm_forces = self.rng.normal(0, 0.01, (MEMBERS, self.charges, 3))
        energies = -3140.0 + forces[:, 0, 0]
        return [
            Prediction(
                frame=key, environment_energies=energies, environment_forces=forces + 1e-4 * i,
                environment_mm_forces=mm_forces + 1e-5 * i, energies=energies - 2.0, forces=forces + 1e-4 * i,
                mm_forces=mm_forces + 1e-5 * i,
            )
            for i, key in enumerate(frames.hashes)
        ]  # fmt: skip

    def hashes(self, held_out: Any) -> list[str]:
        """Hashes of held-out frames, read once."""
        if held_out.pk not in self._hashes:
            self._hashes = {held_out.pk: held_out.hashes}
        return self._hashes[held_out.pk]

    def residuals(self, held_out: Any) -> Any:
        """How far a committee is from held-out labels, as a predict job leaves it."""
        from aiida.orm import SinglefileData

        from aiida_hqe.predictions import Residuals
        from aiida_hqe.residuals import write_residuals
        from aiida_hqe.selection.residuals import SHOWN

        n, rng = held_out.n_frames, self.rng
        shown = min(n, SHOWN)
        found = Residuals(
            frames=self.hashes(held_out), level="environment", energy_level="target", force_method=None,
            force_errors=rng.gamma(4, 0.03, n), disagreements=rng.gamma(4, 0.02, n),
            member_errors=rng.gamma(4, 0.03, (n, MEMBERS)),
            energy_errors=rng.gamma(2, 0.01, n), energy_disagreements=rng.gamma(2, 0.01, n), energies=rng.normal(-3142.0, 1, n),
            shown_forces=list(rng.normal(0, 1, (shown, 6, 3))),
            shown_mm_forces=list(rng.normal(0, 0.01, (shown, self.charges, 3))),
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "predictions.h5"
            write_residuals(path, found)
            return SinglefileData(path)


class Campaign:
    """The campaign that fills the profile."""

    def __init__(self, arguments: argparse.Namespace, computer: Any) -> None:
        from campaign_graph import DOCUMENT, Builder, committee_file

        from aiida_hqe.data.committee import CommitteeData

        self.batch, self.sampled = arguments.batch, arguments.sampled
        self.material = Material(charges=arguments.charges, seed=1)
        self.builder = Builder(arguments.folder, computer, DOCUMENT)
        self.committee_file = committee_file(arguments.folder)
        self.new_committee = lambda: CommitteeData.from_file(self.committee_file)
        self.committee = self.calibration = None
        self.committees: list[Any] = []
        self.sets: dict[str, Any] = {}
        self.assessments: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {"hashes": []}

    def round(self, number: int) -> None:
        """Sample, flag, label, divide, merge, train and calibrate."""
        from aiida import orm
        from aiida.common import LinkType

        from aiida_hqe.frames import Frames

        made, judged = self.builder, {"committee": self.committee} if self.committee else {}
        sampled = made.sample(number, self.material.frames(self.sampled * self.batch, number), **judged)
        given = {"calibration": self.calibration} if self.calibration else {}
        select = made.function("functions.select", frames=sampled, **given)
        chosen = Frames(
            frame.replace(info={**frame.info, "bound": 0.3, "threshold": 0.05, "rank": rank, "reason": "uncertain"})
            for rank, frame in enumerate(sampled.take(range(0, self.sampled * self.batch, self.sampled)), start=1)
        )
        flagged = made.made(select, "flagged", sampled.annotated(chosen))
        _, labels = made.label(number, flagged, self.material.labelled(chosen))
        if self.committee:
            expect = made.job(
                "predict", made.campaign, f"expect_{number:02d}", committee=self.committee, frames=flagged
            )
            made.status(expect, 5.0)
            made.made(expect, "predictions", made.predictions(self.material.predictions(chosen)))
        self.divide(labels)
        train = made.work("train", f"train_{number:02d}", frames=self.sets["training_set"])
        parts = {}
        for job in range(2):
            node = made.job("train", train, f"job_{job:02d}", frames=self.sets["training_set"])
            made.status(node, 100.0)
            parts[f"part_{job:02d}"] = made.made(node, "committee", self.new_committee())
        assemble = made.function("functions.assemble", train, **parts)
        self.committee = made.made(assemble, "result", self.new_committee())
        self.committee.base.links.add_incoming(train, LinkType.RETURN, "committee")
        self.committees.append(self.committee)
        judged = self.judge(train, "held_out")
        fit = made.function("functions.calibrate", train, frames=self.sets["held_out"], predictions=judged)
        self.calibration = made.made(fit, "result", orm.Dict(CALIBRATION))
        self.assessments.append(assessment(number, self.batch))
        self.found["hashes"].append(chosen.hashes[self.batch // 3])

    def divide(self, labels: Any) -> None:
        """Divide the labels of a round, and add them to those of before."""
        before = {name: self.sets[name] for name in ("training_set", "held_out") if self.sets}
        partition = self.builder.function("functions.partition", frames=labels, **before)
        tenth = max(1, labels.n_frames // 10)
        added = [labels.subset(range(tenth, labels.n_frames)), labels.subset(range(tenth))]
        self.sets = self.builder.divided(partition, *added, *before.values())

    def judge(self, caller: Any, label: str, committee: Any = None) -> Any:
        """The job by which a committee says how far it is from the held-out labels, and what it leaves."""
        committee = committee or self.committee
        job = self.builder.job("predict", caller, label, committee=committee, frames=self.sets["held_out"])
        self.builder.status(job, 5.0)
        return self.builder.made(job, "predictions", self.material.residuals(self.sets["held_out"]))

    def finish(self) -> None:
        """The comparison of all rounds, the campaign's own outputs and extras."""
        from aiida.common import LinkType

        for number, committee in enumerate(self.committees):
            self.judge(self.builder.campaign, f"held_out_{number:02d}", committee)
        campaign = self.builder.campaign
        sets = {name: self.sets[name] for name in ("training_set", "held_out", "labels")}
        for label, node in {**sets, "committee": self.committee, "calibration": self.calibration}.items():
            node.base.links.add_incoming(campaign, LinkType.RETURN, label)
        extras = {"hqe_rounds": self.assessments, "hqe_stage": "finished", "hqe_round": len(self.assessments) - 1}
        campaign.base.extras.set_many(extras)
        campaign.base.attributes.set_many({"process_state": "finished", "exit_status": 0})
        for node in self.builder.processes:
            node.seal()
        self.found |= {
            "campaign": campaign.pk,
            "labelled": self.sets["labels"].n_frames,
            "committee": self.committee.pk,
        }
        self.found |= {name: node.pk for name, node in sets.items()}


CALIBRATION = {
    "confidence": 0.9, "level": "environment", "force_factor": 2.0, "energy_factor": None, "n_frames": 50, "force_error": 0.1,
    "force_error_uncertainty": 0.01, "energy_error": 0.02, "coverage": 0.9, "raw_coverage": 0.5, "rank_correlation": 0.5,
    "force_floor": 0.0, "coverage_upper_half": 0.9, "errors": [0.1, 0.2], "disagreements": [0.05, 0.1],
}  # fmt: skip


def assessment(number: int, batch: int) -> dict[str, Any]:
    """The figures of a round."""
    return {
        "round": number, "sampled": 2 * batch, "uncertain": batch, "flagged": batch, "labelled": batch, "failed": 0,
        "uncertain_fraction": 0.5, "force_error": 0.1, "force_error_uncertainty": 0.01, "energy_error": 0.02, "coverage": 0.9,
        "raw_coverage": 0.5, "fresh_coverage": 0.9 if number else None, "core_seconds": 3.0, "label_seconds": 1.5 * batch,
        "training_frames": 450 * (number + 1), "held_out_frames": 50 * (number + 1), "rank_correlation": 0.5,
    }  # fmt: skip


if __name__ == "__main__":
    main()
