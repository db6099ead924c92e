"""Queries and lineage, on the provenance of a small campaign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from campaign_graph import DOCUMENT, THRESHOLD, Builder, Graph

from aiida_hqe import queries
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frames
from aiida_hqe.report import lineage


def test_a_campaign_is_found_by_pk_and_by_the_beginning_of_its_uuid(graph: Graph) -> None:
    node = graph.campaign
    for identifier in (str(node.pk), node.uuid, node.uuid[:13]):
        assert queries.campaign(identifier).uuid == node.uuid


@pytest.mark.parametrize("identifier", ["999999999", "not-a-uuid", "00000000-dead"])
def test_an_unknown_campaign_is_bad_input(graph: Graph, identifier: str) -> None:
    with pytest.raises(InputError, match="pk or uuid of a campaign was expected"):
        queries.campaign(identifier)


def test_another_node_is_no_campaign(graph: Graph) -> None:
    with pytest.raises(InputError, match=r"a campaign was expected \(node"):
        queries.campaign(graph.label_jobs[0].pk)


def test_the_state_holds_rounds_and_verdict(graph: Graph) -> None:
    state = queries.state(graph.campaign.pk)
    assert state.finished_ok
    assert [item["round"] for item in state.rounds] == [0, 1]
    assert state.verdict == {"converged": False, "reason": "not converged"}
    assert state.as_dict()["created"].startswith("20")


def test_the_jobs_of_a_campaign_are_found_with_their_round(graph: Graph) -> None:
    jobs = queries.calculations(graph.campaign.pk)
    found = sorted((job.round, job.step) for job in jobs)
    assert found == sorted(
        [(0, "sample"), (0, "label"), (0, "train"), (0, "predict"), (1, "sample"), (1, "label"), (1, "predict")]
    )
    assert sum(job.seconds for job in jobs if job.step == "label") == pytest.approx(2.0 * 8)


def test_a_job_costs_its_time_on_the_threads_that_it_says_it_was_given(graph: Graph) -> None:
    jobs = {job.pk: job for job in queries.calculations(graph.campaign.pk)}
    first, second = (jobs[job.pk] for job in graph.label_jobs)
    assert (first.threads, first.core_seconds) == (2, 24.0)
    assert (second.threads, second.core_seconds) == (4, 16.0)


def test_cached_label_jobs_count_as_reused_labels(graph: Graph) -> None:
    assert queries.reused_labels(graph.campaign.pk) == (0, 8)
    graph.label_jobs[0].base.extras.set(queries.CACHED_FROM, "0" * 36)
    try:
        assert queries.reused_labels(graph.campaign.pk) == (6, 8)
    finally:
        graph.label_jobs[0].base.extras.delete(queries.CACHED_FROM)


def test_frames_that_nobody_made_are_found_unless_declared(graph: Graph) -> None:
    others = set(queries.without_creator())
    assert not others & {graph.committee.uuid, graph.campaign.outputs.labels.uuid}
    loose = FramesData.from_frames(Frames(graph.first[:1])).store()
    assert set(queries.without_creator()) == others | {loose.uuid}
    assert queries.without_creator(declared=others | {loose.uuid}) == []


def test_progress_is_what_running_jobs_on_this_machine_say(tmp_path: Path, hqe_code: Any) -> None:
    builder = Builder(tmp_path, hqe_code.computer, DOCUMENT)
    job = builder.job("label", builder.work("label", "label_00"), "batch_00")
    campaign = builder.campaign.pk
    assert queries.progress(campaign)[:2] == (0, 0)
    job.base.attributes.set_many({"process_state": "waiting", "remote_workdir": str(tmp_path)})
    assert queries.progress(campaign)[:2] == (0, 0)
    (tmp_path / "progress.json").write_text('{"done": 3, "total": 7}')
    assert queries.progress(campaign)[:2] == (3, 7)


def test_labelled_frames_are_the_flagged_ones_and_the_failed_one_is_told(graph: Graph) -> None:
    found = lineage.flaggings(graph.campaign.pk)
    assert [item.round for item in found] == [0, 1]
    assert found[0].committee is None
    assert found[1].committee == graph.committee.uuid
    flagged = {frame for item in found for frame in orm.load_node(item.flagged).frames.hashes}
    failed = lineage.failures(graph.campaign.pk)
    labelled = {item["frame"] for item in lineage.lineage(graph.campaign.pk)}
    assert [(item["round"], item["kind"]) for item in failed] == [(1, "convergence")]
    assert labelled | {item["frame"] for item in failed} == flagged


def test_the_lineage_of_a_flagged_frame_names_its_committee_and_what_it_said(graph: Graph) -> None:
    item = {entry["frame"]: entry for entry in lineage.lineage(graph.campaign.pk)}[graph.flagged[0].hash]
    assert item["committee"] == graph.committee.uuid
    assert item["round"] == 1
    assert item["members"] == [0.08] * 4
    assert (item["disagreement"], item["bound"], item["threshold"]) == (0.08, 0.16, THRESHOLD)
    assert item["force_error"] == pytest.approx(0.2 * 1.5 / 3**0.5)
    assert item["labelled_by"] == graph.label_jobs[1].pk
    assert (item["seconds"], item["energy"]) == (2.0, -2001.0)
    assert item["used_for"] == "training"


def test_the_first_set_was_judged_by_no_committee(graph: Graph) -> None:
    entries = {entry["frame"]: entry for entry in lineage.lineage(graph.campaign.pk)}
    item = entries[graph.first[5].hash]
    assert item["reason"] == "first set"
    assert item["committee"] is item["bound"] is item["members"] is None
    assert item["used_for"] == "calibration (held out)"


def test_a_frame_is_found_by_the_beginning_of_its_hash(graph: Graph) -> None:
    frame = graph.flagged[1].hash
    assert lineage.find(frame[:14])[0]["frame"] == frame
    with pytest.raises(InputError, match="no campaign here labelled"):
        lineage.find("ffffffffffff")
    with pytest.raises(InputError, match="hash of a frame"):
        lineage.find("zzzz")
    with pytest.raises(InputError, match="give more"):
        lineage.find("")


def test_asking_for_a_state_needs_none_of_the_schemas_of_jobs() -> None:
    asked = "import sys, aiida_hqe.queries, aiida_hqe.cli.watch; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", asked], check=True, capture_output=True, text=True)
    assert not {"aiida_hqe.jobs.files", "aiida_hqe.training.settings"} & set(done.stdout.split())
