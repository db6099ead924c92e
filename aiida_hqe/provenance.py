"""Questions about frames, labels and committees, one QueryBuilder query each; `aiida_hqe.queries` asks about campaigns.

A batch of frames is found by its attribute ``index``, the beginnings of its frames' hashes; then the frame by its hash. What came
first is told by the time of creation: pks are given anew when an archive is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from aiida import orm

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.queries import CALCULATION, CAMPAIGN, LABELLING, TRAINING

_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """Why a frame was flagged.

    Attributes
    ----------
    campaign
        Pk of the campaign.
    committee, calibration
        Uuids of those that judged it; ``None`` in a first set.
    disagreement, bound, threshold
        What they said, eV/angstrom; ``None`` in a first set.
    """

    frame: str
    campaign: int
    select: int
    committee: str | None
    calibration: str | None
    reason: str | None
    disagreement: float | None
    bound: float | None
    threshold: float | None


def holding(prefix: str) -> dict[str, Any]:
    """Filter of the batches that hold a frame whose hash begins with `prefix`.

    Raises
    ------
    InputError
        `prefix` is no beginning of a hash.
    """
    if set(prefix) - _HEXADECIMAL:
        raise InputError(f"the hash of a frame, or its beginning, was expected (got {prefix!r}): 0-9 and a-f", "frame")
    return {"attributes.index": {"like": f"%|{prefix[: FramesData.DIGITS]}%"}}


def flags(prefix: str) -> list[Flag]:
    """Which committees flagged the frames whose hash begins with `prefix`, at what disagreement and threshold; oldest first."""
    query = orm.QueryBuilder()
    query.append(FramesData, filters=holding(prefix), project="*", tag="flagged")
    query.append(
        orm.CalcFunctionNode,
        with_outgoing="flagged",
        edge_filters={"label": "flagged"},
        filters={"process_type": {"like": "%functions.select"}},
        project=["id", "ctime"],
        tag="select",
    )
    query.append(
        orm.WorkChainNode, with_outgoing="select", filters={"process_type": CAMPAIGN}, project="id", tag="campaign"
    )
    query.append(orm.Data, with_outgoing="select", project="uuid", edge_project="label", tag="judged_by")
    query.append(FramesData, with_outgoing="select", edge_filters={"label": "frames"}, tag="sampled")
    query.append(orm.CalcJobNode, with_outgoing="sampled", tag="sampler")
    query.append(orm.Data, with_outgoing="sampler", project="uuid", edge_project="label", tag="sampled_by")
    rows = query.dict()
    inputs: dict[int, dict[str, str]] = {}
    for row in rows:
        given = inputs.setdefault(row["select"]["id"], {})
        given[row["select--judged_by"]["label"]] = row["judged_by"]["uuid"]
        if row["sampler--sampled_by"]["label"] == "committee":
            given["committee"] = row["sampled_by"]["uuid"]
    selections = {row["select"]["id"]: row for row in rows}
    oldest_first = sorted(selections.items(), key=lambda item: item[1]["select"]["ctime"])
    return [flag for select, row in oldest_first for flag in _flags(row, inputs[select], prefix)]


def _flags(row: dict[str, Any], inputs: dict[str, str], prefix: str) -> Iterator[Flag]:
    """The frames of one selection whose hash begins with `prefix`."""
    for frame in beginning_with(row["flagged"]["*"], prefix):
        said: dict[str, Any] = {name: frame.info.get(name) for name in ("reason", "disagreement", "bound", "threshold")}
        yield Flag(
            frame=frame.hash,
            campaign=row["campaign"]["id"],
            select=row["select"]["id"],
            committee=inputs.get("committee"),
            calibration=inputs.get("calibration"),
            **said,
        )


def labelled_at(level: str) -> list[FramesData]:
    """Every batch labelled at a level (`aiida_hqe.calculations.label.level_key`) in the profile, oldest first."""
    query = orm.QueryBuilder().append(FramesData, filters={"attributes.level": level}, project="*", tag="batch")
    return query.order_by({"batch": {"ctime": "asc"}}).all(flat=True)


def labelled_before(level: str, hashes: Iterable[str]) -> list[FramesData]:
    """The fewest batches, the oldest ones, that hold those frames of `hashes` which are labelled at `level` in the profile."""
    query = orm.QueryBuilder()
    query.append(FramesData, filters={"attributes.level": level}, project=["id", "attributes.index"], tag="batch")
    query.order_by({"batch": {"ctime": "asc"}})
    wanted = {key[: FramesData.DIGITS] for key in hashes}
    chosen = []
    for pk, index in query.all():
        held = wanted & beginnings(index)
        if held:
            wanted -= held
            chosen.append(pk)
    return [orm.load_node(pk) for pk in chosen]


def like_batch(level: str, frames: FramesData) -> FramesData | None:
    """The newest batch labelled at `level` whose QM regions are like those of `frames`, to learn what a label costs."""
    query = orm.QueryBuilder()
    alike = {"attributes.level": level, "attributes.n_qm": frames.base.attributes.get("n_qm")}
    query.append(FramesData, filters=alike, project=["attributes.elements", "*"], tag="batch")
    query.order_by({"batch": {"ctime": "desc"}}).limit(20)
    return next((batch for elements, batch in query.all() if elements == frames.elements), None)


def training_set(committee: CommitteeData) -> list[FramesData]:
    """What the members of a committee were trained on last: one batch, unless jobs were given different ones."""
    query = orm.QueryBuilder()
    query.append(CommitteeData, filters={"id": committee.pk}, tag="committee")
    query.append(orm.CalcFunctionNode, with_outgoing="committee", tag="assemble")
    query.append(CommitteeData, with_outgoing="assemble", tag="part")
    query.append(orm.CalcJobNode, with_outgoing="part", filters={"process_type": f"{CALCULATION}train"}, tag="job")
    query.append(FramesData, with_outgoing="job", edge_filters={"label": "frames"}, project="*")
    return list({node.pk: node for node in query.all(flat=True)}.values())


class Learner(NamedTuple):
    """A committee that learned from a label; `orm.load_node` gives its node."""

    pk: int
    uuid: str


def trained_on(prefix: str) -> list[Learner]:
    """What a label changed: the committees that were trained on the frame whose hash begins with `prefix`, oldest first.

    A campaign trains on all that it has added to its training set, so it is every committee that it trained after that. No
    committee is loaded: there may be hundreds. (Asking for the label of their links made SQLite go through all links of that
    label for each of them.)
    """
    query = orm.QueryBuilder()
    query.append(FramesData, filters=holding(prefix), tag="added")
    added = {"label": "added_training"}
    query.append(orm.CalcFunctionNode, with_outgoing="added", edge_filters=added, project="ctime", tag="division")
    query.append(orm.WorkChainNode, with_outgoing="division", filters={"process_type": CAMPAIGN}, tag="campaign")
    train = {"process_type": TRAINING}
    query.append(orm.WorkChainNode, with_incoming="campaign", filters=train, project="ctime", tag="training")
    query.append(
        CommitteeData, with_incoming="training", project=["ctime", "id", "uuid"]
    )  # a training puts out no other
    found = {(made, pk, uuid) for divided, trained, made, pk, uuid in query.iterall() if trained > divided}
    return [Learner(pk, uuid) for _, pk, uuid in sorted(found)]


def failures_by_reason(campaign: int | None = None) -> dict[str, dict[str, str]]:
    """Quarantined frames by the kind of their error, each with its message; of one campaign, or of the whole profile."""
    query = orm.QueryBuilder()
    query.append(
        orm.WorkChainNode, filters={"id": campaign} if campaign else {"process_type": CAMPAIGN}, tag="campaign"
    )
    query.append(orm.WorkChainNode, with_incoming="campaign", filters={"process_type": LABELLING}, tag="labelling")
    query.append(orm.Dict, with_incoming="labelling", edge_filters={"label": "failed"}, project="attributes")
    found: dict[str, dict[str, str]] = {}
    for batch in query.all(flat=True):
        for frame, reason in batch.items():
            found.setdefault(reason["error_kind"], {})[frame] = reason["message"]
    return found


def campaigns_that_labelled(prefix: str) -> list[int]:
    """Pks of the campaigns that labelled, or took from earlier labels, a frame whose hash begins with `prefix`; newest first."""
    query = orm.QueryBuilder()
    query.append(FramesData, filters=holding(prefix), tag="labels")
    query.append(orm.WorkChainNode, with_outgoing="labels", filters={"process_type": LABELLING}, tag="labelling")
    query.append(
        orm.WorkChainNode,
        with_outgoing="labelling",
        filters={"process_type": CAMPAIGN},
        project=["id", "ctime"],
        tag="campaign",
    )
    query.distinct().order_by({"campaign": {"ctime": "desc"}})
    return list(dict.fromkeys(pk for pk, _ in query.all()))


def beginning_with(node: FramesData, prefix: str) -> Frames:
    """The frames of a batch whose hash begins with `prefix`; no others are read."""
    return node.take([row for row, key in enumerate(node.hashes) if key.startswith(prefix)])


def beginning(frame: Frame) -> str:
    """What the index of a batch holds of a frame."""
    return frame.hash[: FramesData.DIGITS]


def beginnings(index: str) -> set[str]:
    """The beginnings of hashes in an index."""
    return set(index.split("|")) - {""}


def indices(pks: Iterable[int]) -> dict[int, set[str]]:
    """Beginnings of the hashes of the frames in each of several batches, by pk."""
    query = orm.QueryBuilder()
    query.append(FramesData, filters={"id": {"in": [*pks, -1]}}, project=["id", "attributes.index"])
    return {pk: beginnings(index) for pk, index in query.all()}


def labels_of(campaign: int, prefix: str | None = None) -> list[tuple[int, Frames]]:
    """Labels of a campaign with the label job that computed each, in the campaign or before it; oldest first.

    With a `prefix`, only those of frames whose hash begins with it.
    """
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": campaign}, tag="campaign")
    query.append(orm.WorkChainNode, with_incoming="campaign", filters={"process_type": LABELLING}, tag="labelling")
    query.append(orm.CalculationNode, with_incoming="labelling", project=["ctime", "id"], tag="process")
    chosen = {} if prefix is None else holding(prefix)
    edge = {"label": "frames"}
    query.append(FramesData, with_incoming="process", edge_filters=edge, filters=chosen, project="*", tag="labels")
    query.append(orm.CalculationNode, with_outgoing="labels", project="process_type")
    found: list[tuple[int, Frames]] = []
    for _, process, node, kind in sorted(query.all(), key=lambda row: row[:2]):
        if kind == f"{CALCULATION}label":
            found.append((process, beginning_with(node, prefix or "")))
        elif kind.endswith(".reuse"):
            found += _origins(process, beginning_with(node, prefix or ""))
    return found


def _origins(reuse: int, frames: Frames) -> list[tuple[int, Frames]]:
    """Label jobs that computed what a calcfunction `reuse` handed out."""
    query = orm.QueryBuilder()
    query.append(orm.CalcFunctionNode, filters={"id": reuse}, tag="reuse")
    earlier = {"label": {"like": "earlier%"}}
    query.append(
        FramesData, with_outgoing="reuse", edge_filters=earlier, project=["ctime", "attributes.index"], tag="old"
    )
    query.append(orm.CalcJobNode, with_outgoing="old", project="id")
    left, found = dict(zip(frames.hashes, frames, strict=True)), []
    for _, index, job in sorted(query.all()):
        held = beginnings(index)
        part = [key for key in left if key[: FramesData.DIGITS] in held]
        found.append((job, Frames(left.pop(key) for key in part)))
    return found
