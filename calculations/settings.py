"""Calcfunctions that turn a campaign into the settings of its steps, so that each setting has its origin in the graph."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, Int
from pydantic import Field

from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.jobs import files
from aiida_hqe.selection.settings import SelectionSettings
from aiida_hqe.settings import Settings

CACHE_VERSION = 1
"""Raised when frames are flagged, divided or calibrated otherwise for equal inputs (docs/caching.md)."""


class SelectionStep(Settings):
    """How labels are chosen, divided and judged in one round.

    Attributes
    ----------
    selection
        Target error, confidence, strategy and batch size of the campaign.
    held_out
        Fraction of new labels that is kept for calibration.
    seed
        Seed of the strategy ``random``.
    converged_below
        Uncertain fraction of a fresh sample below which nothing more is labelled; ``None`` in a first round.
    cache_version
        `CACHE_VERSION` of the program that wrote it. It is an input of `select`, `partition` and `calibrate`, so that AiiDA's
        caching does not hand out what was chosen under another one.
    """

    selection: SelectionSettings
    held_out: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    converged_below: float | None = None
    cache_version: int = Field(default_factory=lambda: CACHE_VERSION, ge=1)


@calcfunction
def first_settings(campaign: Dict) -> dict[str, Any]:
    """Settings of round 0: dynamics of the force field, the level of all labels, training from scratch.

    Parameters
    ----------
    campaign
        Dump of `aiida_hqe.campaign.schema.Campaign`.

    Returns
    -------
    dict
        ``round`` (0), ``batches`` (parallel jobs), ``level``, ``prepare``, ``sample``, ``select`` and ``train``.
    """
    plan = Campaign.model_validate(campaign.get_dict())
    return {
        "round": Int(0),
        "batches": Int(plan.resources.parallel_jobs),
        "level": _node(plan.levels),
        "prepare": _node(
            files.PrepareJob(system=plan.system, sampling=_hot(plan.sampling), seed=seed(plan, 0, "prepare"))
        ),
        "sample": _node(_first_sample(plan)),
        "select": _node(_select(plan, 0)),
        "train": _node(_train(plan, 0)),
    }


@calcfunction
def next_settings(campaign: Dict, assessment: Dict, calibration: Dict) -> dict[str, Any]:
    """Settings of the round after that of `assessment`: dynamics by the committee, within the trust of its calibration.

    Returns
    -------
    dict
        ``round``, ``sample``, ``select`` and ``train``.
    """
    plan = Campaign.model_validate(campaign.get_dict())
    number = int(assessment["round"]) + 1
    return {
        "round": Int(number),
        "sample": _node(_driven_sample(plan, number, calibration)),
        "select": _node(_select(plan, number)),
        "train": _node(_train(plan, number)),
    }


def seed(plan: Campaign, number: int, step: str) -> int:
    """Seed of a step of round `number`: the same for equal campaigns, another for every step and round."""
    digest = hashlib.sha256(f"hqe-seed {plan.seed} {number} {step}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def _first_sample(plan: Campaign) -> files.SampleJob:
    """As many frames as `initial_frames` asks for, or the next multiple of the number of walkers."""
    sampling = plan.sampling
    frames = math.ceil(sampling.initial_frames / sampling.walkers)
    interval = max(sampling.initial_steps // frames, 1)
    return files.SampleJob(
        sampling=_hot(sampling), seed=seed(plan, 0, "sample"), steps=interval * frames, interval=interval
    )


def _hot(sampling: SamplingSettings) -> SamplingSettings:
    """Settings of the first dynamics, which may run at another temperature."""
    if sampling.initial_temperature is None:
        return sampling
    return sampling.model_copy(update={"temperature": sampling.initial_temperature})


def _driven_sample(plan: Campaign, number: int, calibration: Dict) -> files.SampleJob:
    from aiida_hqe.selection.calibration import Calibration

    known = Calibration.model_validate(calibration.get_dict())
    sampling = plan.sampling
    return files.SampleJob(
        sampling=sampling,
        seed=seed(plan, number, "sample"),
        steps=sampling.steps,
        interval=sampling.interval,
        trust_disagreement=known.threshold(sampling.trust_factor * plan.selection.target_force_error),
    )


def _select(plan: Campaign, number: int) -> SelectionStep:
    return SelectionStep(
        selection=plan.selection,
        held_out=plan.training.held_out,
        seed=seed(plan, number, "select"),
        converged_below=plan.stop.uncertain_fraction if number else None,
    )


def _train(plan: Campaign, number: int) -> files.TrainJob:
    members = list(range(plan.training.members))
    return files.TrainJob(
        potential=plan.potential, training=plan.training, members=members, seed=seed(plan, number, "train")
    )


def _node(settings: Settings) -> Dict:
    return Dict(settings.model_dump(mode="json"))
