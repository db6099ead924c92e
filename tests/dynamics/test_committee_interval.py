"""One member drives and the whole committee is asked now and then: whose dynamics that is, and when it stops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from aiida_hqe.dynamics.sample import sample
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.frames import Frame
from aiida_hqe.qmmm.assembly import Assembly

from .conftest import Answer, Springs


class Pair:
    """Two members of other stiffness, whose mean is the committee."""

    def __init__(self, assembly: Assembly, disagreement: float = 0.05) -> None:
        reference = assembly.frame().positions
        self.members = [Springs(reference, stiffness, 0.0) for stiffness in (12.0, 18.0)]
        self.whole = Springs(reference, 15.0, disagreement)

    def evaluate(self, frame: Frame) -> Answer:
        return self.whole.evaluate(frame)

    def alone(self, number: int) -> Springs:
        return self.members[number % 2]


@pytest.fixture
def sparse(sampling: SamplingSettings) -> SamplingSettings:
    return sampling.model_copy(update={"committee_interval": 4, "walkers": 2})


def test_each_walker_moves_on_the_surface_of_its_own_member(methanol: Assembly, sparse: SamplingSettings) -> None:
    pair = Pair(methanol)
    found = sample(methanol, sparse, pair, seed=3, steps=8, interval=8)
    for walker in (0, 1):
        every = sparse.model_copy(update={"committee_interval": 1})
        alone = sample(methanol, every, pair.members[walker], seed=3, steps=8, interval=8)
        np.testing.assert_array_equal(found.frames[walker].positions, alone.frames[walker].positions)
    assert found.frames[0].info["disagreement"] == pytest.approx(0.05)  # kept frames: the whole committee's


def test_the_committee_is_asked_at_its_interval_and_about_kept_frames_only(
    methanol: Assembly, sparse: SamplingSettings
) -> None:
    pair = Pair(methanol)
    sample(methanol, sparse.model_copy(update={"walkers": 1}), pair, seed=3, steps=12, interval=12)
    assert pair.whole.calls == 1 + 3 + 1  # at the start, after 4, 8 and 12 steps, about the frame kept
    assert pair.members[0].calls >= 12


def test_a_run_beyond_trust_stops_at_the_next_question(methanol: Assembly, sparse: SamplingSettings) -> None:
    found = sample(methanol, sparse, Pair(methanol, 0.2), seed=3, steps=12, interval=12, trust_disagreement=0.1)
    assert (found.trusted, found.steps) == (False, 8)  # 4 of each walker
    assert "after 4 steps" in (found.reason or "")


def test_a_member_whose_forces_are_not_finite_stops_the_run(methanol: Assembly, sparse: SamplingSettings) -> None:
    pair = Pair(methanol)

    def broken(frame: Frame) -> Answer:
        answer = Springs.evaluate(pair.members[0], frame)
        return dataclasses.replace(answer, forces=np.full_like(answer.forces, np.nan))

    pair.members[0].evaluate = broken  # type: ignore[method-assign]
    found = sample(methanol, sparse.model_copy(update={"walkers": 1}), pair, seed=3, steps=12, interval=12)
    assert not found.trusted
    assert len(found.frames) == 0
