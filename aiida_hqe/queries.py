"""QueryBuilder recipes: campaigns and their state, calculations, costs, failures, lineage of a frame, graph checks.

QueryBuilder finds nodes; the frames inside a node are found by their content hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from aiida import orm
from aiida.common import exceptions

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError

CAMPAIGN = "aiida.workflows:hqe.campaign"
"""Process type of a campaign."""

CALCULATION = "aiida.calculations:hqe."
"""What the process type of every CalcJob of ours starts with."""

CACHED_FROM = "_aiida_cached_from"
"""Extra in which AiiDA writes the uuid that a cached calculation was taken from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """Where a campaign stands.

    Attributes
    ----------
    stage, round, done, total
        Progress that the running campaign wrote into its extras.
    rounds
        Assessments of the rounds finished so far, see the output namespace ``rounds``.
    verdict
        Output ``verdict``, once there is one.
    """

    pk: int
    uuid: str
    label: str
    created: datetime
    modified: datetime
    process_state: str
    exit_status: int | None
    exit_message: str | None
    last_exception: str | None
    stage: str | None
    round: int
    done: int
    total: int
    rounds: list[dict[str, Any]]
    verdict: dict[str, Any] | None

    @property
    def terminated(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.process_state in {"finished", "excepted", "killed"}

    @property
    def finished_ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.process_state == "finished" and self.exit_status == 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times in ISO 8601."""
        return {
            **dataclasses.asdict(self),
            "created": self.created.isoformat(),
            "modified": self.modified.isoformat(),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calculation:
    """One CalcJob of a campaign: what it did, at what cost, and whether caching gave it.

    Attributes
    ----------
    step
        ``prepare``, ``sample``, ``label``, ``train`` or ``predict``.
    seconds
        Wall time (s) of the job itself, from its ``status`` output; 0 where there is none.
    threads
        CPU cores that it was given.
    """

    pk: int
    uuid: str
    step: str
    label: str
    process_state: str
    exit_status: int | None
    created: datetime
    seconds: float
    threads: int
    peak_memory: float
    cached: bool
    status: dict[str, Any]

    @property
    def core_seconds(self) -> float:
        """Cost in core seconds."""
        return self.seconds * self.threads


def campaign(identifier: str | int) -> orm.WorkChainNode:
    """The campaign of a pk, uuid or beginning of a uuid.

    Raises
    ------
    InputError
        No such node, more than one, or a node of another kind.
    """
    try:
        node = orm.load_node(identifier)
    except exceptions.MultipleObjectsError as error:
        raise InputError(f"one campaign was expected ({identifier!r} is the beginning of several uuids): give more of it") from error
    except (exceptions.NotExistent, ValueError) as error:
        raise InputError(
            f"the pk or uuid of a campaign was expected (got {identifier!r}): `verdi process list -a` lists them"
        ) from error
    if node.process_type != CAMPAIGN:
        raise InputError(f"a campaign was expected (node {node.pk} is a {node.process_type or node.node_type}): give its own pk")
    return node


def campaigns() -> list[int]:
    """Pks of all campaigns, newest first."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"process_type": CAMPAIGN}, project="id", tag="campaign")
    query.order_by({"campaign": {"ctime": "desc"}})
    return query.all(flat=True)


def state(pk: int) -> State:
    """State of campaign `pk`, read anew from the database."""
    query = orm.QueryBuilder()
    keys = ["process_state", "exit_status", "exit_message", "exception"]
    query.append(
        orm.WorkChainNode,
        filters={"id": pk},
        project=["uuid", "label", "ctime", "mtime", "extras", *(f"attributes.{key}" for key in keys)],
    )
    uuid, label, ctime, mtime, extras, process_state, exit_status, exit_message, exception = query.one()
    return State(
        pk=pk,
        uuid=uuid,
        label=label,
        created=ctime,
        modified=mtime,
        process_state=process_state or "created",
        exit_status=exit_status,
        exit_message=exit_message,
        last_exception=exception,
        stage=extras.get("hqe_stage"),
        round=extras.get("hqe_round", 0),
        done=extras.get("hqe_done", 0),
        total=extras.get("hqe_total", 0),
        rounds=extras.get("hqe_rounds", []),
        verdict=_output_dict(pk, "verdict"),
    )


def _output_dict(pk: int, label: str) -> dict[str, Any] | None:
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(orm.Dict, with_incoming="campaign", edge_filters={"label": label}, project="attributes")
    found = query.all(flat=True)
    return found[0] if found else None


def calculations(pk: int) -> list[Calculation]:
    """Every CalcJob that campaign `pk` called, itself or through its workchains, oldest first."""
    found = {calculation.pk: calculation for depth in (1, 2) for calculation in _calculations(pk, depth)}
    return sorted(found.values(), key=lambda calculation: (calculation.created, calculation.pk))


def _calculations(pk: int, depth: int) -> Iterator[Calculation]:
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="caller")
    if depth == 2:
        query.append(orm.WorkChainNode, with_incoming="caller", tag="inner")
    query.append(
        orm.CalcJobNode,
        with_incoming="inner" if depth == 2 else "caller",
        filters={"process_type": {"like": f"{CALCULATION}%"}},
        project=["id", "uuid", "process_type", "label", "ctime", "attributes", f"extras.{CACHED_FROM}"],
        tag="job",
    )
    query.append(
        orm.Dict, with_incoming="job", edge_filters={"label": "status"}, project="attributes", outerjoin=True
    )
    for number, uuid, process_type, label, created, attributes, cached, status in query.iterall():
        status = status or {}
        resources = attributes.get("resources") or {}
        yield Calculation(
            pk=number,
            uuid=uuid,
            step=process_type.removeprefix(CALCULATION),
            label=label,
            process_state=attributes.get("process_state", "created"),
            exit_status=attributes.get("exit_status"),
            created=created,
            seconds=float(status.get("seconds", 0.0)),
            threads=int(resources.get("num_cores_per_mpiproc") or 1) * int(resources.get("num_mpiprocs_per_machine") or 1),
            peak_memory=float(status.get("peak_memory", 0.0)),
            cached=cached is not None,
            status=status,
        )


def reused_labels(pk: int) -> tuple[int, int]:
    """Of campaign `pk`: labels that caching handed out again, and all labels."""
    reused = total = 0
    cached = {calculation.pk: calculation.cached for calculation in calculations(pk) if calculation.step == "label"}
    query = orm.QueryBuilder()
    query.append(orm.CalcJobNode, filters={"id": {"in": list(cached) or [-1]}}, project="id", tag="job")
    query.append(FramesData, with_incoming="job", edge_filters={"label": "frames"}, project="attributes.n_frames")
    for number, count in query.iterall():
        total += count
        reused += count if cached[number] else 0
    return reused, total


def without_creator(*, declared: set[str] | None = None) -> list[str]:
    """Uuids of frames and committee nodes with no creator, except the `declared` inputs."""
    found: set[str] = set()
    created: set[str] = set()
    for kind in (FramesData, CommitteeData):
        found.update(orm.QueryBuilder().append(kind, project="uuid").all(flat=True))
        query = orm.QueryBuilder().append(orm.CalculationNode, tag="creator")
        created.update(query.append(kind, with_incoming="creator", project="uuid").all(flat=True))
    return sorted(found - created - (declared or set()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flagging:
    """One selection of a campaign: which committee sampled, which calibration judged, what was flagged.

    Attributes
    ----------
    round
        0 for the first set, then 1, 2, ...
    committee, calibration
        Uuids; ``None`` for the first set.
    sampled, flagged
        Pks of the batches; `flagged` is ``None`` where nothing was.
    """

    round: int
    select: int
    sampled: int
    sampled_by: int
    flagged: int | None
    committee: str | None
    calibration: str | None


def flaggings(pk: int) -> list[Flagging]:
    """The selections of campaign `pk`, oldest first."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(
        orm.CalcFunctionNode,
        with_incoming="campaign",
        filters={"process_type": {"like": "%functions.select"}, "attributes.exit_status": 0},
        project="id",
        tag="select",
    )
    query.append(FramesData, with_outgoing="select", edge_filters={"label": "frames"}, project="id", tag="sampled")
    query.append(orm.CalculationNode, with_outgoing="sampled", project="id", tag="sampler")
    query.append(
        FramesData, with_incoming="select", edge_filters={"label": "flagged"}, project="id", tag="flagged", outerjoin=True
    )
    query.append(
        CommitteeData, with_outgoing="sampler", edge_filters={"label": "committee"}, project="uuid", tag="c", outerjoin=True
    )
    query.append(
        orm.Dict, with_outgoing="select", edge_filters={"label": "calibration"}, project="uuid", tag="k", outerjoin=True
    )
    query.order_by({"select": {"id": "asc"}})
    keys = ("select", "sampled", "sampled_by", "flagged", "committee", "calibration")
    return [Flagging(round=number, **dict(zip(keys, row, strict=True))) for number, row in enumerate(query.all())]


def label_outputs(pk: int) -> list[tuple[int, FramesData]]:
    """Label jobs of campaign `pk` with the frames that each labelled, oldest first."""
    jobs = [calculation.pk for calculation in calculations(pk) if calculation.step == "label"]
    query = orm.QueryBuilder()
    query.append(orm.CalcJobNode, filters={"id": {"in": jobs or [-1]}}, project="id", tag="job")
    query.append(FramesData, with_incoming="job", edge_filters={"label": "frames"}, project="*")
    query.order_by({"job": {"id": "asc"}})
    return [(job, node) for job, node in query.all()]


def failures(pk: int) -> list[dict[str, Any]]:
    """Frames that campaign `pk` could not label: frame, round, error_kind, message."""
    rounds = _rounds_of_flagged(pk)
    jobs = [calculation.pk for calculation in calculations(pk) if calculation.step == "label"]
    query = orm.QueryBuilder()
    query.append(orm.CalcJobNode, filters={"id": {"in": jobs or [-1]}}, tag="job")
    query.append(orm.Dict, with_incoming="job", edge_filters={"label": "failed"}, project="attributes")
    return [
        {"frame": frame, "round": rounds.get(frame), "kind": reason["error_kind"], "message": reason["message"]}
        for batch in query.all(flat=True)
        for frame, reason in batch.items()
    ]


def _rounds_of_flagged(pk: int) -> dict[str, int]:
    return {
        frame: item.round
        for item in flaggings(pk)
        if item.flagged is not None
        for frame in orm.load_node(item.flagged).frames.hashes
    }


def held_out(pk: int) -> set[str]:
    """Hashes of the frames that campaign `pk` holds out of training, by its last partition."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(
        orm.CalcFunctionNode,
        with_incoming="campaign",
        filters={"process_type": {"like": "%functions.partition"}},
        project="id",
        tag="partition",
    )
    query.append(FramesData, with_incoming="partition", edge_filters={"label": "held_out"}, project="*")
    query.order_by({"partition": {"id": "desc"}}).limit(1)
    found = query.first()
    return set(found[1].frames.hashes) if found else set()
