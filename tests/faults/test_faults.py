"""Faults of a running campaign: each ends with the training set that an undisturbed one has, and with every label made once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import HERE, Campaign, kill

pytestmark = pytest.mark.slow
Start = Callable[..., Campaign]
FIRST_SET = {"stop": "labelling"}
"""A campaign that its user asks to stop while it labels its first set."""


def sound(campaign: Campaign, undisturbed: dict[str, Any], *, repeated: int = 0) -> dict[str, Any]:
    """What the campaign left, if it ended as it should: `repeated` is how many jobs had to be begun anew."""
    left = campaign.end()
    assert left["ended"][:2] == ["finished", 0], (left["ended"], campaign.log())
    assert left["sets"] == undisturbed["sets"][: len(left["sets"])]
    assert left["sets"]
    once(campaign, left)
    assert left["failed"] == {}
    assert len(left["endings"]) == repeated, left["endings"]
    return left


def once(campaign: Campaign, left: dict[str, Any]) -> None:
    """No label was made twice, no job was submitted twice, nothing hangs, and the graph has no fault."""
    assert set(campaign.labels().values()) == {1}
    assert len(left["labelled"]) == len(set(left["labelled"]))
    assert sorted(left["folders"]) == campaign.folders()
    assert left["faults"] == []
    assert left["lost"] == []


def labelling(campaign: Campaign, at_least: int = 1) -> Any:
    """The label job, once it has finished some of its frames and before it has finished all."""

    def found() -> Any:
        job = campaign.job("label")
        return job if job and at_least <= len(campaign.labels()) < 9 else None

    return campaign.wait_for(found)


def poisoned(folder: Path, poison: str, frame: str) -> str:
    """A program in place of ``hqe-job``, see `poisoned_job`."""
    script = folder / "hqe-job"
    command = [sys.executable, str(HERE / "poisoned_job.py"), poison, frame]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_a_killed_label_job_loses_the_frame_it_worked_on_and_no_other(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start(**FIRST_SET)
    kill(labelling(campaign, 2))
    finished = len(campaign.labels())
    left = sound(campaign, undisturbed, repeated=1)
    assert left["jobs"]["LabelCalculation"] == 2
    assert left["endings"][0][1] == 500
    assert 2 <= finished < 10


def test_a_killed_worker_is_replaced_and_its_job_goes_on(start: Start, undisturbed: dict[str, Any]) -> None:
    campaign = start(**FIRST_SET)
    job = labelling(campaign)
    [worker] = campaign.workers()
    kill(worker)
    assert job.is_running()
    left = sound(campaign, undisturbed)
    assert left["jobs"] == {"PrepareCalculation": 1, "SampleCalculation": 1, "LabelCalculation": 1}


def test_a_function_that_a_killed_worker_ran_is_run_anew_and_not_shown_as_running_for_ever(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start(**FIRST_SET)
    campaign.kill_worker_when(lambda states: states.get("gather") in ([None], ["created"], ["running"]))
    left = sound(campaign, undisturbed)
    assert left["cut_off"] == ["gather"]
    assert left["jobs"] == {"PrepareCalculation": 1, "SampleCalculation": 1, "LabelCalculation": 1}


def test_a_job_that_a_killed_worker_was_about_to_submit_is_submitted_once(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start(**FIRST_SET)
    campaign.kill_worker_when(lambda states: states.get("LabelCalculation") in ([None], ["created"]))
    left = sound(campaign, undisturbed)
    assert left["cut_off"] in ([], ["LabelCalculation"])  # what is in the queue already is not cut off
    assert left["jobs"] == {"PrepareCalculation": 1, "SampleCalculation": 1, "LabelCalculation": 1}


def test_a_killed_daemon_goes_on_where_it_was_when_it_is_started_again(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start(**FIRST_SET)
    labelling(campaign)
    campaign.kill_daemon()
    campaign.repair("broker")
    campaign.start_daemon()
    left = sound(campaign, undisturbed)
    assert left["jobs"] == {"PrepareCalculation": 1, "SampleCalculation": 1, "LabelCalculation": 1}


def test_a_killed_broker_stops_nothing_once_the_daemon_is_started_again(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start(**FIRST_SET)
    labelling(campaign)
    kill(campaign.broker())
    campaign.repair("broker")
    left = sound(campaign, undisturbed)
    assert left["jobs"] == {"PrepareCalculation": 1, "SampleCalculation": 1, "LabelCalculation": 1}


def test_what_was_submitted_to_a_killed_broker_is_begun_once_its_repair_is_done(
    start: Start, undisturbed: dict[str, Any]
) -> None:
    campaign = start()
    labelling(campaign)
    kill(campaign.broker())
    campaign.wait_for(lambda: campaign.states().get("TrainWorkChain") == ["created"])
    campaign.repair("broker")
    left = sound(campaign, undisturbed)
    assert len(left["sets"]) == 2


def test_killed_training_and_sampling_jobs_are_submitted_again(start: Start, undisturbed: dict[str, Any]) -> None:
    campaign = start()
    kill(campaign.wait_for(lambda: campaign.job("sample")))
    kill(campaign.wait_for(lambda: campaign.job("train")))
    again = campaign.wait_for(lambda: campaign.job("train"))
    campaign.wait_for(lambda: not again.is_running())
    kill(campaign.wait_for(lambda: campaign.job("sample")))
    left = sound(campaign, undisturbed, repeated=3)
    assert len(left["sets"]) == 2
    assert sorted(name for name, *_ in left["endings"]) == ["SampleCalculation"] * 2 + ["TrainCalculation"]


@pytest.mark.parametrize(("poison", "reason"), [("scf", "did not converge"), ("nan", "broke down")])
def test_a_frame_that_cannot_be_labelled_is_quarantined_with_its_reason(
    start: Start, undisturbed: dict[str, Any], tmp_path: Path, poison: str, reason: str
) -> None:
    frame = undisturbed["sets"][0][0]
    campaign = start(executable=poisoned(tmp_path, poison, frame[:20]), **FIRST_SET)
    left = campaign.end()
    assert left["ended"][:2] == ["finished", 0], (left["ended"], campaign.log())
    assert list(left["failed"]) == [frame]
    assert left["failed"][frame]["error_kind"] == "convergence"
    assert reason in left["failed"][frame]["message"]
    assert set(undisturbed["sets"][0]) - set(left["sets"][0]) >= {frame}
    once(campaign, left)
    assert left["jobs"]["LabelCalculation"] == 1


def test_damaged_results_are_made_again_and_whole_labels_are_kept(start: Start, undisturbed: dict[str, Any]) -> None:
    spoil = """
if [ -f sampled.h5 ] && mkdir "$AIIDA_PATH/spoilt-sample" 2>/dev/null; then truncate -s -2000 sampled.h5; fi
if [ -f labels.jsonl ] && mkdir "$AIIDA_PATH/spoilt-label" 2>/dev/null; then truncate -s -2000 labels.jsonl; fi
"""
    campaign = start(append=spoil, **FIRST_SET)
    left = campaign.end()
    assert left["ended"][:2] == ["finished", 0], (left["ended"], campaign.log())
    assert left["sets"] == undisturbed["sets"][:1]
    assert [(name, code) for name, code, _ in left["endings"]] == [
        ("SampleCalculation", 320),
        ("LabelCalculation", 320),
    ]
    assert left["jobs"]["LabelCalculation"] == 2
    assert len(left["labelled"]) == len(set(left["labelled"])) == 10
    assert left["faults"] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for the inputs of the jobs and a few labels."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of limited size cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_a_job_and_the_campaign_goes_on_when_there_is_room(
    start: Start, undisturbed: dict[str, Any], small_disk: Path
) -> None:
    campaign = start(scratch=str(small_disk), **FIRST_SET)
    labelling(campaign, 2)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            pass
    campaign.wait_for(lambda: campaign.job("label") is None)
    filler.unlink()
    left = sound(campaign, undisturbed, repeated=1)
    assert left["jobs"]["LabelCalculation"] == 2
    [[name, code, message]] = left["endings"]
    assert (name, code) == ("LabelCalculation", 410)
    assert "is full" in message


def test_frames_that_the_walltime_left_out_go_to_the_next_job(
    start: Start, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    # ten frames take twenty seconds at least, on the fastest machine: the first job cannot make them all
    script = poisoned(tmp_path, "slow", "")
    changes = {"resources": {"parallel_jobs": 1, "walltime": "15 s"}}
    campaign = start(executable=script, changes=changes, **FIRST_SET)
    left = campaign.end()
    assert left["ended"][:2] == ["finished", 0], (left["ended"], campaign.log())
    assert left["sets"] == undisturbed["sets"][:1]
    once(campaign, left)
    assert left["jobs"]["LabelCalculation"] >= 2
    assert {code for name, code, _ in left["endings"] if name == "LabelCalculation"} <= {411, 501}


def test_of_two_campaigns_at_once_none_repeats_a_finished_label(start: Start, undisturbed: dict[str, Any]) -> None:
    campaign = start(second="training")
    first, second = campaign.ends()
    for left in (first, second):
        assert left["ended"][:2] == ["finished", 0], (left["ended"], campaign.log())
        assert left["sets"] == undisturbed["sets"]
        assert left["faults"] == left["lost"] == []
    repeated = {key for key, times in campaign.labels().items() if times > 1}
    assert set(first["labelled"]) == set(undisturbed["labelled"])
    assert repeated == set(second["labelled"])  # what both asked for at the same moment, in the last round
    assert repeated.isdisjoint(first["first_set"])
