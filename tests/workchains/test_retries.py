"""Jobs that the machine ended are submitted again with the same input, given more of what they lacked; others are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from ended_processes import ended

from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.workchains.base import ATTEMPTS, MACHINE
from aiida_hqe.workchains.sample import resumable

LIMITS = {"max_wallclock_seconds": 60, "max_memory_kb": 1000}
JOB = {"potential": {}, "training": {}, "members": [0, 1], "seed": 5}


@pytest.fixture
def chain(hqe_code: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A workchain in memory that keeps what it would submit in `submitted`."""

    def make(name: str, **inputs: Any) -> Any:
        process = instantiate_process(
            get_manager().get_runner(), WorkflowFactory(f"hqe.{name}"), code=hqe_code, options=LIMITS, **inputs
        )
        process.submitted = []

        def submit(_process: Any, job: dict[str, Any]) -> orm.CalcJobNode:
            process.submitted.append(job)
            return orm.CalcJobNode().store()

        monkeypatch.setattr(process, "submit", submit)
        monkeypatch.setattr(process, "to_context", lambda **_: None)
        return process

    return make


@pytest.fixture
def training(chain: Callable[..., Any]) -> Any:
    """A training that two jobs share."""
    frame = Frame(numbers=[1, 1], positions=[[0, 0, 0], [0.7, 0, 0]], charge=0, spin=0)
    process = chain("train", frames=FramesData.from_frames(Frames([frame])), settings=orm.Dict(JOB), batches=orm.Int(2))
    process.ctx.shares = {name: orm.Dict(JOB) for name in ("job_00", "job_01")}
    return process


@pytest.mark.parametrize("job", ["prepare", "sample", "train", "predict", "label"])
def test_the_codes_that_are_tried_again_are_those_that_caching_forgets(job: str) -> None:
    codes = CalculationFactory(f"hqe.{job}").exit_codes.values()
    forgotten = {code.status for code in codes if code.invalidates_cache and 200 <= code.status < 500}
    assert forgotten == {status for status in MACHINE if status >= 200}


def test_only_the_training_job_that_was_killed_is_submitted_again(training: Any) -> None:
    assert training.tries_training()
    training.train()
    assert [job["metadata"]["label"] for job in training.submitted] == ["job_00", "job_01"]
    training.ctx.job_00, training.ctx.job_01 = [ended(0)], [ended(300)]
    assert training.tries_training()
    training.train()
    first, again = training.submitted[1:]
    assert again["metadata"] == first["metadata"]
    assert again["settings"].uuid == first["settings"].uuid
    assert len(training.submitted) == 3


@pytest.mark.parametrize(("cause", "memory"), [("disk", 1000), ("device", 1000), (None, 2000)])
def test_a_full_disk_or_a_missing_gpu_asks_for_no_more_memory(training: Any, cause: str | None, memory: int) -> None:
    training.ctx.job_00, training.ctx.job_01 = [ended(0)], [ended(410, status=orm.Dict({"cause": cause}))]
    training.train()
    [again] = training.submitted
    assert again["metadata"]["options"]["max_memory_kb"] == memory


def test_a_job_is_not_tried_for_ever_nor_again_where_its_input_is_to_blame(training: Any) -> None:
    training.ctx.job_00, training.ctx.job_01 = [ended(0, history=orm.Dict({}))], [ended(300)] * ATTEMPTS
    assert not training.tries_training()
    training.ctx.job_01 = [ended(400)]
    assert not training.tries_training()
    assert training.assemble().status == 400


@pytest.mark.parametrize(
    ("codes", "limits"),
    [
        ([300], {}),
        ([411], {"max_wallclock_seconds": 120}),
        ([120, 411], {"max_wallclock_seconds": 240}),
        ([412], {"max_memory_kb": 2000}),
        ([411, 412], {"max_wallclock_seconds": 120, "max_memory_kb": 2000}),
    ],
)
def test_the_next_attempt_is_given_more_of_what_the_last_ones_lacked(
    training: Any, codes: list[int], limits: dict[str, int]
) -> None:
    training.ctx.job_00, training.ctx.job_01 = [ended(0)], [ended(code) for code in codes]
    training.train()
    assert training.submitted[-1]["metadata"]["options"] == LIMITS | limits


def test_a_job_that_the_engine_lost_is_tried_again_and_one_that_the_user_killed_is_not(training: Any) -> None:
    lost, killed = ended(300), ended(300)
    lost.is_excepted, lost.exit_status, killed.exit_status = True, None, None
    training.ctx.job_00, training.ctx.job_01 = [ended(0)], [lost]
    assert training.tries_training()
    training.ctx.job_01 = [killed]
    assert not training.tries_training()


def test_a_killed_run_goes_on_from_its_checkpoint_once_and_one_short_of_time_always(hqe_code: Any) -> None:
    folder = orm.RemoteData(remote_path="/scratch/here", computer=hqe_code.computer)
    killed, short = ended(300, remote_folder=folder), ended(411, remote_folder=folder)
    assert resumable([]) is None
    assert resumable([ended(300)]) is None
    assert resumable([killed]).uuid == folder.uuid
    assert resumable([killed, killed]) is None  # its checkpoint may be what ends it
    assert resumable([short, short]).uuid == folder.uuid


def test_a_prediction_that_was_killed_is_made_again_before_the_round_is_judged(
    cheap_builder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = instantiate_process(get_manager().get_runner(), cheap_builder())
    process.start()
    assert process.goes_on()
    assert not process.tries_expectation()  # round 0 has no committee to ask
    process.ctx.expectation = [ended(300)]
    assert process.tries_expectation()
    process.ctx.expectation = [ended(0)]
    assert not process.tries_expectation()
    process.ctx.committees = [(0, None), (1, None)]
    assert process.tries_comparison()
    process.ctx.held_out_00 = [ended(320)]
    assert process.tries_comparison()
    process.ctx.held_out_00 = [ended(320), ended(0)]
    assert not process.tries_comparison()
