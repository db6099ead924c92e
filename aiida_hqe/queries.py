"""QueryBuilder recipes: campaigns and their state, calculations, costs, failures, lineage of a frame, graph checks.

QueryBuilder finds nodes; the frames inside a node are found by their content hash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from aiida import orm
from aiida.common import exceptions
from aiida.common.links import LinkType

from aiida_hqe.calculations.monitors import COUNTER
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError

CAMPAIGN = "aiida.workflows:hqe.campaign"
"""Process type of a campaign."""

CALCULATION = "aiida.calculations:hqe."
"""What the process type of every CalcJob of ours starts with."""

LABELLING = "aiida.workflows:hqe.label"
"""Process type of a labelling."""

TRAINING = "aiida.workflows:hqe.train"
"""Process type of a training."""

STEPS = ("label", "train", "sample", "prepare", "predict")
"""Kinds of jobs; where several run at a time, progress is that of the first."""

ENDED = frozenset({"finished", "excepted", "killed"})
"""States of a process that has ended."""

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
        return self.process_state in ENDED

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


class Counts(NamedTuple):
    """What running jobs have done and have to do, and when the first of them was submitted."""

    done: int
    total: int
    began: datetime | None = None

    def seconds_left(self, now: datetime) -> float | None:
        """How long (s) the rest takes if it goes on as it did so far; ``None`` where nothing is done yet."""
        if self.began is None or not self.done:
            return None
        return (now - self.began).total_seconds() * (self.total - self.done) / self.done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calculation:
    """One CalcJob of a campaign: what it did, at what cost, and whether caching gave it.

    Attributes
    ----------
    step
        ``prepare``, ``sample``, ``label``, ``train`` or ``predict``.
    round
        Round that called it.
    status
        Its output ``status`` (`aiida_hqe.jobs.files.Status`); empty where there is none.
    workdir
        Folder that it runs in, where that is on this machine.
    threads
        Threads that it says it was given, otherwise those that the campaign asked for.
    counter
        Done and total, as the monitor of a job on another machine read them last.
    """

    pk: int
    uuid: str
    step: str
    round: int
    process_state: str
    exit_status: int | None
    created: datetime
    cached: bool
    status: dict[str, Any]
    workdir: Path | None
    threads: int = 1
    counter: tuple[int, int] = (0, 0)

    @property
    def seconds(self) -> float:
        """Wall time (s) of the job itself, without its wait in a queue."""
        return float(self.status.get("seconds", 0.0))

    @property
    def core_seconds(self) -> float:
        """Wall time on every thread that it was given (s)."""
        return self.threads * self.seconds

    @property
    def terminated(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.process_state in ENDED


def campaign(identifier: str | int) -> orm.WorkChainNode:
    """The campaign of a pk, uuid or beginning of a uuid.

    Raises
    ------
    InputError
        No such node, more than one, or a node of another kind.
    """
    try:
        node = orm.load_node(_within_reach(identifier))
    except exceptions.MultipleObjectsError as error:
        raise InputError(f"one campaign was expected ({identifier!r} begins several uuids): give more of it") from error
    except (exceptions.NotExistent, ValueError) as error:
        raise InputError(
            f"the pk or uuid of a campaign was expected (got {identifier!r}): `verdi process list -a` lists them"
        ) from error
    if node.process_type != CAMPAIGN:
        kind = getattr(node, "process_label", None) or type(node).__name__
        raise InputError(f"a campaign was expected (node {node.pk} is {kind}): give its own pk")
    return node


def _within_reach(identifier: str | int) -> str | int:
    """`identifier`, unless it is a number that no database has a place for."""
    if str(identifier).strip().isdecimal() and int(identifier) >= 2**31:
        raise ValueError(identifier)
    return identifier


def campaigns() -> list[int]:
    """Pks of all campaigns, newest first."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"process_type": CAMPAIGN}, project="id", tag="campaign")
    query.order_by({"campaign": {"ctime": "desc"}})
    return [int(pk) for pk in query.all(flat=True)]


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
        verdict=output_dict(pk, "verdict"),
    )


def output_dict(pk: int, label: str) -> dict[str, Any] | None:
    """Content of the Dict that campaign `pk` gave out as `label`; `None` where it has not."""
    return linked([pk], label, project="attributes").get(pk)


def calculations(pk: int) -> list[Calculation]:
    """Every CalcJob that campaign `pk` called, itself or through its workchains, oldest first."""
    found = {calculation.pk: calculation for depth in (1, 2) for calculation in _calculations(pk, depth)}
    return sorted(found.values(), key=lambda calculation: (calculation.created, calculation.pk))


_STATE = ("attributes.process_state", "attributes.exit_status", "attributes.remote_workdir")


def _called_jobs(pk: int, depth: int, project: Sequence[str]) -> tuple[orm.QueryBuilder, str]:
    """Query of the jobs that campaign `pk` called itself (`depth` 1) or through a workchain (2), and that edge."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    if depth == 2:
        query.append(orm.WorkChainNode, with_incoming="campaign", tag="inner", edge_project="label")
    query.append(
        orm.CalcJobNode,
        with_incoming="inner" if depth == 2 else "campaign",
        filters={"process_type": {"like": f"{CALCULATION}%"}},
        project=list(project),
        edge_project="label",
        tag="job",
    )
    return query, "campaign--inner" if depth == 2 else "campaign--job"


def _calculations(pk: int, depth: int) -> Iterator[Calculation]:
    project = ["id", "uuid", "process_type", "ctime", *_STATE, f"extras.{CACHED_FROM}", f"extras.{COUNTER}"]
    query, call = _called_jobs(pk, depth, project)
    query.append(orm.Computer, with_node="job", project="transport_type", tag="computer")
    rows = query.dict()
    statuses = linked([row["job"]["id"] for row in rows], "status", project="attributes")
    for row in rows:
        job = row["job"]
        workdir = job["attributes.remote_workdir"] if row["computer"]["transport_type"] == "core.local" else None
        yield Calculation(
            pk=job["id"],
            uuid=job["uuid"],
            step=job["process_type"].removeprefix(CALCULATION),
            round=_round(row[call]["label"]),
            process_state=job["attributes.process_state"] or "created",
            exit_status=job["attributes.exit_status"],
            created=job["ctime"],
            cached=job[f"extras.{CACHED_FROM}"] is not None,
            status=statuses.get(job["id"], {}),
            workdir=None if workdir is None else Path(workdir),
            threads=statuses.get(job["id"], {}).get("threads") or 0,
            counter=tuple(job[f"extras.{COUNTER}"] or (0, 0)),
        )


def linked(
    pks: Sequence[int], label: str, *, project: str, inputs: bool = False, only: type = orm.Data
) -> dict[int, Any]:
    """For each process of `pks` that has it: what to `project` of its output `label`, or of its input of that label."""
    query = orm.QueryBuilder()
    query.append(orm.ProcessNode, filters={"id": {"in": list(pks) or [-1]}}, project="id", tag="process")
    direction = {"with_outgoing" if inputs else "with_incoming": "process"}
    query.append(only, edge_filters={"label": label}, project=project, **direction)
    return dict(query.all())


def _round(label: str) -> int:
    """Number at the end of the label of a call: ``train_02``."""
    number = label.rpartition("_")[2]
    return int(number) if number.isdigit() else 0


def jobs_by_step(pk: int) -> dict[tuple[int, str], list[Calculation]]:
    """Jobs of campaign `pk` by round and step, for sums of their cost."""
    groups: dict[tuple[int, str], list[Calculation]] = {}
    for calculation in calculations(pk):
        groups.setdefault((calculation.round, calculation.step), []).append(calculation)
    return groups


def costs(pk: int) -> dict[tuple[int, str], float]:
    """Core seconds of all jobs of campaign `pk` by round and step; a job that caching gave counts with what it cost once.

    One query for the jobs that it called itself and for those of its workchains: what called a job is either the campaign,
    of which the origin is its document, or a workchain, of which the origin is the campaign.
    """
    query = orm.QueryBuilder()
    origins = {"or": [{"id": pk}, {"node_type": orm.Dict.class_node_type}]}
    query.append(orm.Node, filters=origins, project="id", tag="origin")
    query.append(
        orm.WorkChainNode,
        with_incoming="origin",
        filters={"or": [{"id": pk}, {"process_type": {"!==": CAMPAIGN}}]},
        edge_filters={"or": [{"label": "campaign"}, {"type": LinkType.CALL_WORK.value}]},
        edge_project="label",
        tag="caller",
    )
    kind, jobs = "process_type", {"process_type": {"like": f"{CALCULATION}%"}}
    query.append(orm.CalcJobNode, with_incoming="caller", filters=jobs, edge_project="label", project=kind, tag="job")
    used = ["attributes.seconds", "attributes.threads"]
    query.append(orm.Dict, with_incoming="job", edge_project="label", project=used, tag="status")
    found: dict[tuple[int, str], float] = {}
    for row in query.iterdict():
        if row["job--status"]["label"] != "status":  # not a filter: SQLite would look through all links of that label
            continue
        call = row["origin--caller" if row["origin"]["id"] == pk else "caller--job"]
        seconds, threads = (row["status"][name] or 0 for name in used)
        key = _round(call["label"]), row["job"][kind].removeprefix(CALCULATION)
        found[key] = found.get(key, 0.0) + float(seconds * threads)
    return found


def round_costs(pk: int) -> dict[int, float]:
    """Core seconds of all jobs of each round of campaign `pk`, see `costs`."""
    found: dict[int, float] = {}
    for (number, _), cost in costs(pk).items():
        found[number] = found.get(number, 0.0) + cost
    return found


def progress(pk: int) -> Counts:
    """What the jobs of the present step have done, and have to do in all.

    Jobs on this machine are asked; of one elsewhere the daemon says what its monitor read last.
    """
    jobs = calculations(pk)
    running = [job for job in jobs if not job.terminated]
    if not running:
        return Counts(0, 0)
    present = min(running, key=lambda job: STEPS.index(job.step))
    step = [job for job in jobs if (job.round, job.step) == (present.round, present.step)]
    counters = [_counter(job) for job in step]
    began = min(job.created for job in step)
    return Counts(sum(done for done, _ in counters), sum(total for _, total in counters), began)


def _counter(job: Calculation) -> tuple[int, int]:
    """Counter of a job; zeros where it has not begun to count."""
    if job.workdir is None:
        return job.counter
    from aiida_hqe.jobs import files

    try:
        return files.counter((job.workdir / files.PROGRESS).read_text())
    except (OSError, ValueError):
        return 0, 0


def reused_labels(pk: int) -> tuple[int, int]:
    """Of campaign `pk`: labels taken from earlier calculations, by caching or from earlier batches, and all labels."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(orm.WorkChainNode, with_incoming="campaign", filters={"process_type": LABELLING}, tag="labelling")
    makers = {"or": [{"process_type": f"{CALCULATION}label"}, {"process_type": {"like": "%.labelling.reuse"}}]}
    query.append(
        orm.CalculationNode,
        with_incoming="labelling",
        filters=makers,
        project=["process_type", f"extras.{CACHED_FROM}"],
        tag="maker",
    )
    query.append(FramesData, with_incoming="maker", edge_filters={"label": "frames"}, project="attributes.n_frames")
    rows = query.all()
    reused = sum(count for kind, cached, count in rows if cached is not None or kind.endswith(".reuse"))
    return reused, sum(count for _, _, count in rows)


def without_creator(*, declared: set[str] | None = None) -> list[str]:
    """Uuids of frames and committee nodes with no creator, except the `declared` inputs."""
    found: set[str] = set()
    created: set[str] = set()
    for kind in (FramesData, CommitteeData):
        found.update(orm.QueryBuilder().append(kind, project="uuid").all(flat=True))
        query = orm.QueryBuilder().append(orm.CalculationNode, tag="creator")
        created.update(query.append(kind, with_incoming="creator", project="uuid").all(flat=True))
    return sorted(found - created - (declared or set()))
