"""Questions about frames, labels and committees, and the audit, on the provenance of a small campaign."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common import LinkType
from campaign_graph import DOCUMENT, LEVEL_KEY, THRESHOLD, Builder, Graph, committee_file, labelled, water

from aiida_hqe import provenance, queries
from aiida_hqe.audit import Audit, audit
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frames


def here(graph: Graph, nodes: list[Any]) -> list[Any]:
    """Those of `nodes` that this campaign made; other tests of the session leave theirs in the profile."""
    below = {process.pk for process in graph.campaign.called_descendants}
    return [node for node in nodes if node.creator is not None and node.creator.pk in below]


def test_the_committee_that_flagged_a_frame_is_found_with_its_disagreement_and_threshold(graph: Graph) -> None:
    flags = [flag for flag in provenance.flags(graph.flagged[0].hash[:20]) if flag.campaign == graph.campaign.pk]
    assert len(flags) == 1
    assert flags[0].frame == graph.flagged[0].hash
    assert flags[0].committee == graph.committee.uuid
    assert flags[0].calibration == graph.campaign.outputs.calibration.uuid
    assert (flags[0].disagreement, flags[0].bound, flags[0].threshold) == (0.08, 0.16, THRESHOLD)
    first = [flag for flag in provenance.flags(graph.first[2].hash) if flag.campaign == graph.campaign.pk]
    assert [(flag.reason, flag.committee, flag.calibration) for flag in first] == [("first set", None, None)]


@pytest.mark.parametrize("prefix", ["xyz", "%", "ABCDEF"])
def test_what_is_no_beginning_of_a_hash_is_bad_input(prefix: str) -> None:
    with pytest.raises(InputError, match="hash of a frame"):
        provenance.holding(prefix)


def test_every_frame_labelled_at_a_level_is_found(graph: Graph) -> None:
    batches = here(graph, provenance.labelled_at(LEVEL_KEY))
    assert {key for node in batches for key in node.frames.hashes} == {
        *graph.first.hashes, *graph.flagged.hashes[:2],
    }  # fmt: skip
    assert provenance.labelled_at("f" * 64) == []


def test_earlier_labels_are_looked_for_in_as_few_batches_as_hold_them(graph: Graph) -> None:
    one = provenance.labelled_before(LEVEL_KEY, graph.first.hashes[:3])
    assert len(one) == 1
    assert set(graph.first.hashes[:3]) <= set(one[0].frames.hashes)
    assert provenance.labelled_before("f" * 64, graph.first.hashes) == []
    assert provenance.labelled_before(LEVEL_KEY, [water(77).hash]) == []


def test_the_training_set_of_a_committee_and_the_committees_of_a_label(graph: Graph) -> None:
    [trained] = provenance.training_set(graph.committee)
    assert trained.frames.hashes == graph.first.hashes[:4]
    assert graph.committee.uuid in {node.uuid for node in provenance.trained_on(graph.first[0].hash)}
    assert graph.committee.uuid not in {node.uuid for node in provenance.trained_on(graph.first[5].hash)}


@contextmanager
def queries_counted() -> Iterator[list[str]]:
    """The QueryBuilder queries that are sent to the database meanwhile."""
    from aiida.storage.psql_dos.orm.querybuilder.main import SqlaQueryBuilder

    sent: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("first", "iterall", "iterdict"):
            original = getattr(SqlaQueryBuilder, name)

            def counted(self: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
                sent.append(_original.__name__)
                return _original(self, *args, **kwargs)

            patch.setattr(SqlaQueryBuilder, name, counted)
        yield sent


def test_each_question_is_one_query(graph: Graph) -> None:
    frame, campaign = graph.flagged[0].hash, graph.campaign.pk
    questions: dict[str, Callable[[], Any]] = {
        "flags": lambda: provenance.flags(frame),
        "labelled_at": lambda: provenance.labelled_at(LEVEL_KEY),
        "training_set": lambda: provenance.training_set(graph.committee),
        "trained_on": lambda: provenance.trained_on(graph.first[0].hash),
        "costs": lambda: queries.costs(campaign),
        "failures_by_reason": lambda: provenance.failures_by_reason(campaign),
    }
    for name, ask in questions.items():
        with queries_counted() as sent:
            assert ask(), name
        assert len(sent) == 1, name


def test_costs_are_those_of_the_jobs_by_round_and_step(graph: Graph) -> None:
    found: dict[tuple[int, str], float] = {}
    for job in queries.calculations(graph.campaign.pk):
        if job.status:
            key = job.round, job.step
            found[key] = found.get(key, 0.0) + job.core_seconds
    assert queries.costs(graph.campaign.pk) == found


def test_failures_are_found_by_their_reason(graph: Graph) -> None:
    assert provenance.failures_by_reason(graph.campaign.pk) == {"convergence": {graph.flagged[2].hash: "no SCF"}}
    assert graph.flagged[2].hash in provenance.failures_by_reason()["convergence"]


def test_labels_name_the_job_that_computed_them(graph: Graph) -> None:
    found = provenance.labels_of(graph.campaign.pk)
    assert [(job, frames.hashes) for job, frames in found] == [
        (graph.label_jobs[0].pk, graph.first.hashes),
        (graph.label_jobs[1].pk, graph.flagged.hashes[:2]),
    ]


def test_labels_taken_from_earlier_batches_name_the_job_of_those_and_count_as_reused(
    tmp_path: Path, hqe_code: Any, graph: Graph
) -> None:
    builder = Builder(tmp_path, hqe_code.computer, DOCUMENT)
    flagged = FramesData.from_frames(Frames(frame.unlabelled() for frame in graph.first[:2])).store()
    labelling = builder.work("label", "label_00", frames=flagged)
    earlier = graph.label_jobs[0].outputs.frames
    reuse = builder.function("labelling.reuse", labelling, frames=flagged, **{f"earlier_{earlier.pk}": earlier})
    builder.made(reuse, "frames", FramesData.from_frames(Frames(graph.first[:2])))
    assert queries.reused_labels(builder.campaign.pk) == (2, 2)
    assert provenance.labels_of(builder.campaign.pk) == [(graph.label_jobs[0].pk, Frames(graph.first[:2]))]


def test_a_sound_campaign_has_no_fault(graph: Graph) -> None:
    assert audit(graph.campaign) == []
    counts = Audit(graph.campaign).counts()
    assert min(counts.values()) > 5


def faulty(tmp_path: Path, computer: orm.Computer) -> tuple[Builder, FramesData]:
    """A campaign that has labelled two frames, unsealed."""
    builder = Builder(tmp_path, computer, DOCUMENT)
    frames = Frames(labelled(water(40 + number)) for number in range(2))
    sampled = builder.sample(0, Frames(frame.unlabelled() for frame in frames))
    select = builder.function("functions.select", frames=sampled)
    flagged = builder.made(select, "flagged", FramesData.from_frames(sampled.frames))
    builder.label(0, flagged, frames)
    assert audit(builder.campaign) == []
    return builder, flagged


def test_a_node_that_nobody_made_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, _ = faulty(tmp_path, hqe_code.computer)
    loose = orm.Dict({"from": "nowhere"}).store()
    builder.job("predict", builder.campaign, "held_out", settings=loose)
    assert [(fault.kind, fault.node) for fault in audit(builder.campaign)] == [("creator", loose.uuid)]


def test_a_label_without_flag_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, _ = faulty(tmp_path, hqe_code.computer)
    extra = Frames([labelled(water(60))])
    partition = builder.function("functions.partition")
    labels = builder.made(partition, "labels", FramesData.from_frames(extra))
    labels.base.links.add_incoming(builder.campaign, LinkType.RETURN, "labels")
    assert [str(fault) for fault in audit(builder.campaign)] == [
        f"flag: node {labels.uuid}: the label of frame {extra[0].hash[:12]} was never asked for"
    ]


def test_a_flagged_frame_that_was_dropped_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, flagged = faulty(tmp_path, hqe_code.computer)
    labelling = builder.work("label", "label_01", frames=flagged)
    kinds = [(fault.kind, fault.node) for fault in audit(builder.campaign)]
    assert kinds == [("flag", labelling.uuid)] * 2


def test_frames_that_no_selection_flagged_are_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, _ = faulty(tmp_path, hqe_code.computer)
    job = builder.job("sample", builder.campaign, "sample")
    other = builder.made(job, "frames", FramesData.from_frames(Frames([water(61)])))
    builder.label(1, other, Frames([labelled(water(61))]))
    assert ["no selection flagged" in fault.message for fault in audit(builder.campaign)] == [True]


def test_a_held_out_frame_that_was_trained_on_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, flagged = faulty(tmp_path, hqe_code.computer)
    partition = builder.function("functions.partition", frames=flagged)
    frames = Frames(labelled(frame) for frame in flagged.frames)
    held_out = builder.made(partition, "held_out", FramesData.from_frames(Frames(frames[:1])))
    held_out.base.links.add_incoming(builder.campaign, LinkType.RETURN, "held_out")
    training = builder.made(partition, "training_set", FramesData.from_frames(frames))
    assert audit(builder.campaign) == []
    job = builder.job("train", builder.campaign, "job_00", frames=training)
    [fault] = audit(builder.campaign)
    assert (fault.kind, fault.node) == ("held out", job.uuid)
    assert frames[0].hash[:12] in fault.message


def test_a_damaged_file_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, flagged = faulty(tmp_path, hqe_code.computer)
    container = Path(builder.campaign.backend.get_repository()._container.get_folder())
    content = flagged.base.repository.get_object_content(FramesData.FILENAME, mode="rb")
    key = hashlib.sha256(content).hexdigest()
    loose = container / "loose" / key[:2] / key[2:]
    mode = loose.stat().st_mode
    loose.chmod(0o600)
    loose.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        faults = audit(builder.campaign)
    finally:
        loose.write_bytes(content)
        loose.chmod(mode)
    assert {fault.kind for fault in faults} >= {"checksum"}
    assert any(FramesData.FILENAME in fault.message and fault.node == flagged.uuid for fault in faults)


def test_a_committee_whose_own_checksum_disagrees_is_a_fault(tmp_path: Path, hqe_code: Any) -> None:
    builder, _ = faulty(tmp_path, hqe_code.computer)
    path = committee_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"difference", b"differenxe"))
    committee = builder.made(
        builder.job("train", builder.campaign, "job_00"), "committee", CommitteeData.from_file(path)
    )
    assert [(fault.kind, fault.node) for fault in audit(builder.campaign)] == [("checksum", committee.uuid)]
