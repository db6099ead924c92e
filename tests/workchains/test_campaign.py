from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.manage.caching import enable_caching

from aiida_hqe import queries
from aiida_hqe.audit import audit
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.provenance import flags, trained_on, training_set
from aiida_hqe.report import lineage
from aiida_hqe.workchains.extension import builder_from_earlier


def below(campaign: orm.WorkChainNode, label: str) -> list[orm.ProcessNode]:
    found = [node for node in campaign.called_descendants if node.process_label == label]
    return sorted(found, key=lambda node: node.pk)


@pytest.fixture(scope="module")
def campaign(cheap_builder: Any) -> orm.WorkChainNode:
    """A real campaign of two rounds after the first set, at a cheap level."""
    return run_get_node(cheap_builder())[1]


@pytest.mark.slow
def test_a_campaign_ends_with_a_verdict(campaign: orm.WorkChainNode) -> None:
    assert campaign.is_finished_ok, campaign.exit_message
    outputs = campaign.outputs
    assert outputs.verdict["reason"]
    rounds = [outputs.rounds[name].get_dict() for name in sorted(outputs.rounds)]
    assert [found["round"] for found in rounds] == list(range(len(rounds)))
    assert campaign.base.extras.get("hqe_rounds") == rounds
    assert campaign.base.extras.get("hqe_stage") == "finished"
    assert [point["round"] for point in outputs.learning_curve["rounds"]] == list(range(len(rounds)))
    assert outputs.labels.n_frames == outputs.training_set.n_frames + outputs.held_out.n_frames


@pytest.mark.slow
def test_no_frame_and_no_committee_is_without_a_creator(campaign: orm.WorkChainNode) -> None:
    nodes = [
        entry.node
        for process in [campaign, *campaign.called_descendants]
        for entry in process.base.links.get_outgoing()
    ]
    data = {node.pk: node for node in nodes if isinstance(node, (FramesData, CommitteeData))}
    assert len(data) > 10
    assert [node.pk for node in data.values() if node.creator is None] == []


@pytest.mark.slow
def test_no_input_of_any_step_is_without_a_creator_but_those_declared(campaign: orm.WorkChainNode) -> None:
    declared = {entry.node.pk for entry in campaign.base.links.get_incoming()}
    for process in campaign.called_descendants:
        for entry in process.base.links.get_incoming():
            if isinstance(entry.node, orm.Data):
                assert entry.node.creator is not None or entry.node.pk in declared, (process, entry.link_label)


@pytest.mark.slow
def test_labelled_and_quarantined_frames_are_the_flagged_ones(campaign: orm.WorkChainNode) -> None:
    flagged = [
        key
        for node in below(campaign, "select")
        if "flagged" in node.outputs
        for key in node.outputs.flagged.frames.hashes
    ]
    gathered = below(campaign, "gather")
    failed = {key for node in gathered if "failed" in node.outputs for key in node.outputs.failed.get_dict()}
    assert len(set(flagged)) == len(flagged)
    assert set(campaign.outputs.labels.frames.hashes) | failed == set(flagged)
    assert not set(campaign.outputs.labels.frames.hashes) & failed


@pytest.mark.slow
def test_a_second_run_computes_nothing_again(campaign: orm.WorkChainNode, cheap_builder: Any) -> None:
    with enable_caching():
        again = run_get_node(cheap_builder())[1]
    assert again.is_finished_ok
    jobs = [node for node in again.called_descendants if isinstance(node, orm.CalcJobNode)]
    before = [node for node in campaign.called_descendants if isinstance(node, orm.CalcJobNode)]
    labelling = [job for job in before if job.process_label == "LabelCalculation"]
    assert len(jobs) == len(before) - len(labelling)  # labels are taken from the batches of the first run
    assert queries.reused_labels(again.pk) == (again.outputs.labels.n_frames,) * 2
    assert [item["frame"] for item in lineage.lineage(again.pk)] == [
        item["frame"] for item in lineage.lineage(campaign.pk)
    ]
    assert [job.process_label for job in jobs if not job.base.caching.is_created_from_cache] == []
    assert again.outputs.labels.frames == campaign.outputs.labels.frames


@pytest.mark.slow
def test_a_campaign_goes_on_from_the_committee_and_the_labels_of_another(campaign: orm.WorkChainNode) -> None:
    again = run_get_node(builder_from_earlier(campaign, 1))[1]
    assert again.is_finished_ok, again.exit_message
    first = again.outputs.rounds["round_00"].get_dict()
    assert (first["sampled"], first["labelled"], first["given"]) == (0, 0, campaign.outputs.labels.n_frames)
    assert len(again.outputs.rounds) == 2
    assert again.inputs.committee.uuid == campaign.outputs.committee.uuid
    assert set(campaign.outputs.held_out.frames.hashes) <= set(again.outputs.held_out.frames.hashes)
    assert audit(again) == []


@pytest.mark.slow
def test_the_graph_of_a_campaign_is_sound(campaign: orm.WorkChainNode) -> None:
    assert campaign.is_finished_ok
    assert audit(campaign) == []
    committee = campaign.outputs.committee
    assert [node.uuid for node in training_set(committee)] == [campaign.outputs.training_set.uuid]
    trained = {node.uuid for node in trained_on(campaign.outputs.training_set.frames[0].hash)}
    assert committee.uuid in trained
    frame = campaign.outputs.rounds["round_01"]["flagged"] and below(campaign, "select")[1].outputs.flagged.frames[0]
    [flag] = [flag for flag in flags(frame.hash) if flag.campaign == campaign.pk]
    assert flag.committee == below(campaign, "TrainWorkChain")[0].outputs.committee.uuid
    assert flag.disagreement == frame.info["disagreement"] > 0
    assert flag.calibration is not None
