"""What an epoch sees, and what moves the parameters."""

from __future__ import annotations

import importlib.util
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import SHORT, SMALL

from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.frames import Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.training.feed import CONTRAST, Adaptive, Everything, feed
from aiida_hqe.training.optimizers import Stepper
from aiida_hqe.training.train import train_member

CORE = importlib.util.find_spec("core_optimizer") is not None
OPTIMIZERS = [
    "adam",
    "adamw",
    pytest.param("core", marks=pytest.mark.skipif(not CORE, reason="needs the extra 'core'")),
]


def test_an_epoch_of_everything_sees_every_frame_in_full_batches() -> None:
    source = Everything(10, 4, seed=1)
    batches = list(source.epoch())
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert {*itertools.chain(*batches)} == set(range(10))
    assert batches != list(source.epoch())


def test_an_adaptive_epoch_sees_its_fraction_and_unseen_frames_first() -> None:
    source = Adaptive(20, 4, seed=1, fraction=0.3)
    source.learn(range(17), [1.0] * 17)
    chosen = list(itertools.chain(*source.epoch()))
    assert {17, 18, 19} <= set(chosen)
    assert len(set(chosen)) == 6
    assert len(chosen) == 8


def test_frames_with_large_losses_come_often_and_none_is_forgotten() -> None:
    source = Adaptive(40, 4, seed=2, fraction=0.2)
    source.learn(range(40), [100.0] * 4 + [1.0] * 32 + [0.0] * 4)
    counts = Counter(index for _ in range(2000) for index in {*itertools.chain(*source.epoch())})
    large, usual, small = (np.mean([counts[i] for i in part]) for part in (range(4), range(4, 36), range(36, 40)))
    assert large > 3 * usual
    assert min(counts[index] for index in range(36, 40)) > 0
    assert usual > small > usual / CONTRAST / 3


def test_the_seed_fixes_what_is_seen() -> None:
    adaptive = SHORT.model_copy(update={"data": "adaptive", "data_fraction": 0.5})
    for settings in (SHORT, adaptive):
        one, other = feed(9, settings, 3), feed(9, settings, 3)
        for _ in range(3):
            batches = list(one.epoch())
            assert batches == list(other.epoch())
            one.learn(batches[0], [2.0] * len(batches[0]))
            other.learn(batches[0], [2.0] * len(batches[0]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_to_a_minimum(name: str) -> None:
    settings = SHORT.model_copy(update={"optimizer": name, "weight_decay": 0.0})
    target, scale = torch.linspace(-1, 1, 20), torch.logspace(0, 2, 20)
    stepper = Stepper(torch.zeros(20), settings, 0.05)
    for step in range(400):
        stepper.set_rate(0.05 * 0.98**step)
        stepper.step(scale * (stepper.parameters - target))
    assert float((stepper.parameters - target).abs().max()) < 0.05


def test_gradients_are_clipped() -> None:
    settings = SHORT.model_copy(update={"gradient_clip": 1.0})
    steppers = [Stepper(torch.zeros(3), settings, 0.1) for _ in range(2)]
    for stepper, size in zip(steppers, (1.0, 1e6), strict=True):
        for direction in (torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.0])):
            stepper.step(direction * (size if direction[0] else 1.0))
    assert torch.equal(steppers[0].parameters, steppers[1].parameters)


@pytest.mark.skipif(CORE, reason="core-optimizer is installed")
def test_a_missing_optimizer_is_named_with_the_remedy() -> None:
    with pytest.raises(ResourceError, match=r"aiida-hqe\[core\].*adamw"):
        Stepper(torch.zeros(3), SHORT.model_copy(update={"optimizer": "core"}), 0.1)


def force_error(committee: Committee, frames: Frames) -> float:
    errors = [committee.predict(frame).environment_forces[0] - frame.environment_forces for frame in frames]
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_going_on_with_new_frames_and_a_third_of_the_data_forgets_less_than_going_on_without_the_old(
    optimizer: str, environment: Frames
) -> None:
    """The new frames have other forces: what fits them alone no longer fits the old ones."""
    old = Frames(environment[:9])
    new = Frames(
        frame.replace(
            environment_forces=0.5 * frame.environment_forces, environment_mm_forces=0.5 * frame.environment_mm_forces
        )
        for frame in environment[9:13]
    )
    settings = SHORT.model_copy(update={"epochs": 200, "warm_epochs": 60, "optimizer": optimizer})
    first, _ = train_member(old, SMALL, settings, member=0, seed=1)
    adaptive = settings.model_copy(update={"data": "adaptive", "data_fraction": 0.34})
    replayed, _ = train_member(Frames([*old, *new]), SMALL, adaptive, member=0, seed=1, initial=first)
    alone, _ = train_member(new, SMALL, settings, member=0, seed=1, initial=first)
    assert force_error(replayed, old) < force_error(alone, old)
    assert force_error(replayed, new) < force_error(first, new)


def test_a_training_goes_on_from_a_committee_of_an_earlier_version_that_started_otherwise(methanol: Frames) -> None:
    """Its file of format 1 has ``first_response: 1``, which says nothing of trained networks; their size does."""
    of_then = SMALL.model_copy(update={"smoothing": 1e-8, "short_range": False})
    initial = Committee.load(Path(__file__).parent.parent / "data" / "committee_format_1.safetensors")
    assert initial.settings.first_response != SMALL.first_response
    still = SHORT.model_copy(update={"warm_epochs": 1, "learning_rate": 1e-7, "final_learning_rate": 1e-7})
    warm, _ = train_member(Frames(methanol[:11]), of_then, still, member=0, seed=7, initial=initial)
    one, other = (committee.predict(methanol[14]).environment_forces for committee in (warm, initial))
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert warm.settings == of_then
    assert initial.settings.fits(SMALL)
    larger = SMALL.model_copy(update={"features": 12})
    with pytest.raises(InputError, match="same architecture"):
        train_member(Frames(methanol[:11]), larger, still, member=0, seed=7, initial=initial)


def test_what_is_close_by_is_learned_on_from_a_committee_that_does_not_see_it(methanol: Frames) -> None:
    few = Frames(methanol[:11])
    without = SMALL.model_copy(update={"short_range": False})
    settings = SHORT.model_copy(update={"epochs": 200, "warm_epochs": 200})
    first, _ = train_member(few, without, settings, member=0, seed=1)
    warm, history = train_member(few, SMALL, settings, member=0, seed=1, initial=first)
    assert warm.settings == SMALL
    assert history[-1]["validation"] < history[0]["validation"]
    with pytest.raises(InputError, match="same architecture"):
        train_member(few, without, settings, member=0, seed=1, initial=warm)
