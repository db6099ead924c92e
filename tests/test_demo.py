"""What the demo left behind: an unbroken graph in which every label was asked for; `make check-demo` runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiida import orm

from aiida_hqe import queries
from aiida_hqe.cli import profile
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData

pytestmark = pytest.mark.demo
DEMO = Path(__file__).resolve().parent.parent / ".demo"


@pytest.fixture(scope="module")
def campaign() -> Iterator[orm.WorkChainNode]:
    """The newest campaign of the demo's profile."""
    if not (DEMO / ".aiida" / "config.json").is_file():
        pytest.fail("the demo's profile was expected in .demo (got none): run `make demo` first")
    before = dict(os.environ)
    profile.enter(DEMO)
    profile.open_profile()
    yield orm.load_node(queries.campaigns()[0])
    os.environ.clear()
    os.environ.update(before)


def outputs_of(campaign: orm.WorkChainNode, function: str, label: str) -> list[Any]:
    """Outputs `label` of the calcfunctions of a name below a campaign, oldest first."""
    below = [node for node in campaign.called_descendants if isinstance(node, orm.CalcFunctionNode)]
    nodes = sorted((node for node in below if node.process_label == function), key=lambda node: node.pk)
    return [node.outputs[label] for node in nodes if label in node.outputs]


def test_the_campaign_ran_at_least_two_rounds_after_its_first_set(campaign: orm.WorkChainNode) -> None:
    assert campaign.is_finished_ok
    rounds = queries.state(campaign.pk).rounds
    assert len(rounds) >= 3
    assert [assessed["round"] for assessed in rounds] == list(range(len(rounds)))


def test_every_node_of_frames_and_committees_has_a_creator(campaign: orm.WorkChainNode) -> None:
    assert orm.QueryBuilder().append(FramesData).count() > 0
    assert orm.QueryBuilder().append(CommitteeData).count() > 0
    assert queries.without_creator() == []


def test_the_labelled_frames_are_the_flagged_ones_and_the_first_set(campaign: orm.WorkChainNode) -> None:
    flagged = [key for node in outputs_of(campaign, "select", "flagged") for key in node.frames.hashes]
    labelled = [key for node in outputs_of(campaign, "gather", "frames") for key in node.frames.hashes]
    failed = [key for node in outputs_of(campaign, "gather", "failed") for key in node.get_dict()]
    assert len(flagged) == len(set(flagged))
    assert len(labelled) == len(set(labelled))
    assert set(labelled) | set(failed) == set(flagged)
    rounds = queries.state(campaign.pk).rounds
    assert sum(assessed["labelled"] for assessed in rounds) == len(labelled)
    assert sum(assessed["flagged"] for assessed in rounds) == len(flagged)


def test_every_label_is_of_coupled_cluster_quality_and_real(campaign: orm.WorkChainNode) -> None:
    labels = campaign.outputs.labels.frames
    assert all(frame.energy is not None and frame.environment_energy is not None for frame in labels)
    differences = [frame.energy - frame.environment_energy for frame in labels]
    assert len(set(differences)) == len(differences)
    assert all(frame.info["core_seconds"] > 0 for frame in labels)


def test_the_held_out_frames_were_never_trained_on(campaign: orm.WorkChainNode) -> None:
    held_out = set(campaign.outputs.held_out.frames.hashes)
    assert held_out
    trainings = [node for node in campaign.called_descendants if node.process_type == "aiida.calculations:hqe.train"]
    assert trainings
    for job in trainings:
        assert not held_out & set(job.inputs.frames.frames.hashes)


def test_a_second_run_reuses_every_label(campaign: orm.WorkChainNode) -> None:
    if len(queries.campaigns()) < 2:
        pytest.skip("the demo ran once: run `make demo` again")
    reused, total = queries.reused_labels(campaign.pk)
    assert total > 0
    assert reused == total


def test_the_report_is_one_page_that_needs_no_network(campaign: orm.WorkChainNode) -> None:
    page = (DEMO / "report.html").read_text(encoding="utf-8")
    assert str(campaign.uuid)[:8] in page
    for outside in ('src="http', "src='http", '<link rel="stylesheet" href="http', "@import"):
        assert outside not in page
