"""A campaign record of plausible numbers, for pages that need no profile."""

from __future__ import annotations

import hashlib

import numpy as np

from aiida_hqe.report.record import CampaignRecord, Cost, Failure, LearningPoint, Parity, Selection

CONFIDENCE = 0.8


def assessment(number: int, rng: np.random.Generator) -> dict:
    return {
        "round": number, "sampled": 40, "uncertain": 40 if number == 0 else 22 - 8 * number, "flagged": 24 if number == 0 else 10,
        "labelled": 24 if number == 0 else 10, "failed": 0, "uncertain_fraction": 0.3, "force_error": 0.22 - 0.05 * number,
        "force_error_uncertainty": 0.02, "energy_error": 0.03 / (1 + number), "coverage": 0.8 + 0.02 * number,
        "fresh_coverage": None if number == 0 else 0.6 + 0.05 * number, "core_seconds": 120.0 - 10 * number,
        "label_seconds": 70.0, "training_frames": 18 + 8 * number, "held_out_frames": 6 + 2 * number, "rank_correlation": 0.5,
    }  # fmt: skip


def lineage(rng: np.random.Generator, number: int, index: int) -> dict:
    disagreement = float(rng.gamma(4, 0.03))
    common = {
        "frame": hashlib.sha256(f"{number} {index}".encode()).hexdigest(), "round": number, "rank": index + 1, "step": 50 * index,
        "temperature": 300.0 + index, "energy": -3146.2, "environment_energy": -3147.1, "seconds": 2.1, "core_seconds": 0.9,
        "used_for": "held-out" if index % 4 == 0 else "training", "labelled_by": 120 + number, "sampled_by": 100 + number,
        "selected_by": 110 + number,
    }  # fmt: skip
    if number == 0:
        return {**common, "reason": "first set"}
    return {
        **common, "reason": "uncertain", "disagreement": disagreement, "bound": 2 * disagreement, "threshold": 0.07,
        "force_error": disagreement, "committee": "d2719f4c-0000-4000-8000-000000000000", "members": [disagreement] * 4,
    }  # fmt: skip


def selection(number: int, disagreements: np.ndarray) -> Selection:
    flagged = disagreements[disagreements > 0.08]
    places = np.random.default_rng(number).normal(number, 1.0, (len(disagreements), 2))
    return Selection(
        round=number, disagreements=disagreements.tolist(), flagged=flagged.tolist(), threshold=0.08,
        places=places.tolist(), labelled_places=places[disagreements > 0.08].tolist(),
    )  # fmt: skip


def sample_record() -> CampaignRecord:
    rng = np.random.default_rng(7)
    disagreements = rng.gamma(4, 0.02, 9)
    errors = disagreements * rng.lognormal(0.3, 0.4, 9)
    forces, mm_forces, energies = rng.normal(0, 1.5, 162), rng.normal(0, 0.05, 900), rng.normal(0, 0.15, 9)

    def pair(values: np.ndarray, noise: float) -> tuple[list[float], list[float]]:
        return values.tolist(), (values + rng.normal(0, noise, len(values))).tolist()

    return CampaignRecord(
        pk=321,
        uuid="8a4c1b5e-1111-4222-8333-944445555666",
        name="methanol in water",
        created="2026-11-20 10:00:00",
        finished="2026-11-20 10:04:40",
        seconds=280.0,
        process_state="finished",
        exit_status=0,
        verdict={"converged": False, "reason": "2 of 2 rounds are done and 12 % of the last sample is uncertain (10 % allowed)"},
        campaign={"name": "methanol in water", "selection": {"target_force_error": "0.15 eV/angstrom"}, "seed": 2026},
        rounds=[assessment(number, rng) for number in range(3)],
        target_force_error=0.15,
        learning_curve=[
            LearningPoint(
                round=number, training_frames=18 + 8 * number, force_error=0.22 - 0.05 * number, force_error_uncertainty=0.02,
                member_errors=(0.26 - 0.05 * number + rng.normal(0, 0.01, 4)).tolist(), energy_error=0.03 / (1 + number),
                energy_error_uncertainty=0.004,
            )
            for number in range(3)
        ],
        calibration={
            "confidence": CONFIDENCE, "level": "environment", "force_factor": 1.9, "n_frames": 9, "coverage": 0.89,
            "raw_coverage": 0.55, "rank_correlation": 0.61, "errors": errors.tolist(), "disagreements": disagreements.tolist(),
        },
        parity=Parity(energies=pair(energies, 0.02), forces=pair(forces, 0.12), mm_forces=pair(mm_forces, 0.01)),
        selections=[
            Selection(round=0, disagreements=[], flagged=[], threshold=None),
            *(selection(number, rng.gamma(4, 0.02, 40)) for number in (1, 2)),
        ],
        landscape=(0.4, 0.2),
        failures=[Failure(frame="ab" * 32, round=1, kind="convergence", message="SCF did not converge after 3 rungs <&>")],
        costs=[
            Cost(round=number, step=step, jobs=2, core_seconds=seconds, cached=number == 0)
            for number in range(3)
            for step, seconds in (("sample", 20.0), ("label", 70.0), ("train", 40.0), ("predict", 3.0))
        ],
        lineage=[lineage(rng, number, index) for number, count in enumerate((24, 10, 9)) for index in range(count)],
        labels_reused=0,
        versions={"python": "3.11.9", "aiida-core": "2.9.4", "aiida-hqe": "0.1.0", "pyscf": "2.14.0"},
        peak_memory=812.0,
    )  # fmt: skip
