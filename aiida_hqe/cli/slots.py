"""Slots of the daemon: how many processes it holds at a time, how many a profile needs, and whether it stands still.

A work chain keeps its slot while it waits for what it called. Where work chains hold all slots, the jobs that they wait for
never begin, and AiiDA does not notice (https://github.com/aiidateam/aiida-core/issues/1397).
"""

from __future__ import annotations

from collections.abc import Iterator

from aiida_hqe.cli.services import Finding, number_of_workers
from aiida_hqe.errors import ResourceError

NESTED = 2
"""Slots that a campaign holds while it waits for jobs: its own, and that of the one work chain which it waits for."""

_OPTION = "daemon.worker_process_slots"


def needed(campaigns: int, others: int = 0) -> int:
    """Slots with which so many campaigns, and so many other work chains, always go on: one is left for a job."""
    return NESTED * campaigns + others + 1


def needed_now(more: int = 0) -> int:
    """Slots that the campaigns of the loaded profile need, with so many `more`, and its other work chains."""
    from aiida_hqe.queries import CAMPAIGN

    chains = _active("WorkChainNode")
    campaigns = {pk for pk, kind, _ in chains if kind == CAMPAIGN}
    below = _called_by(campaigns)
    others = [pk for pk, _, _ in chains if pk not in campaigns | below]
    return needed(len(campaigns) + more, len(others))


def examine() -> Iterator[Finding]:
    """Whether the slots of a running daemon suffice."""
    workers, there = capacity()
    if not workers:
        return
    wanted = needed_now()
    if stalled(there):
        message = f"all {there} are held by work chains that wait for jobs, which wait for a slot: nothing goes on"
        yield Finding("slots", "missing", message, more_slots(wanted))
    elif wanted > there:
        message = f"{there}, but the work chains of this profile may come to need {wanted}, and then stand still"
        yield Finding("slots", "optional", message, more_slots(wanted))
    else:
        yield Finding("slots", "ok", f"{there}; {wanted} are needed so that nothing stands still")


def require_room() -> None:
    """Raise `ResourceError` where one more campaign might bring all of them to a stand."""
    _, there = capacity()
    wanted = needed_now(more=1)
    if wanted > there:
        raise ResourceError(
            f"{wanted} slots of the daemon were expected for one more campaign (got {there}): wait for the end of another, or"
            f" run `{more_slots(wanted)}`"
        )


def capacity() -> tuple[int, int]:
    """Workers of the daemon, and processes that they hold; of one worker where none runs."""
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.manage.configuration import get_config_option

    workers = number_of_workers(get_daemon_client().get_daemon_pid() or 0)
    return workers, int(get_config_option(_OPTION)) * max(workers, 1)


def stalled(there: int) -> bool:
    """Whether every slot is held by a work chain that waits for a process, and none of those that have begun is a job.

    It stays so until there are more slots.
    """
    chains, jobs = _active("WorkChainNode"), _active("CalcJobNode")
    begun = {pk for pk, _, state in [*chains, *jobs] if state != "created"}
    waiting = {pk for pk, _, state in chains if state == "waiting"}
    return len(begun) >= there and begun <= waiting & _callers()


def more_slots(count: int) -> str:
    """The commands that give the daemon so many slots for each worker, rounded up to hundreds."""
    return f"verdi config set {_OPTION} {-(-count // 100) * 100}; verdi daemon stop; verdi daemon start"


def _active(kind: str) -> list[tuple[int, str, str]]:
    """Pk, type and state of the processes of a kind that have not ended."""
    from aiida import orm

    from aiida_hqe.queries import ENDED

    query = orm.QueryBuilder().append(
        getattr(orm, kind),
        filters={"attributes.process_state": {"!in": sorted(ENDED)}},
        project=["id", "process_type", "attributes.process_state"],
    )
    return [(pk, process_type, state) for pk, process_type, state in query.all()]


def _called_by(campaigns: set[int]) -> set[int]:
    """Pks of the work chains that these called."""
    from aiida.orm import QueryBuilder, WorkChainNode

    if not campaigns:
        return set()
    query = QueryBuilder().append(WorkChainNode, filters={"id": {"in": sorted(campaigns)}}, tag="campaign")
    return set(query.append(WorkChainNode, with_incoming="campaign", project="id").all(flat=True))


def _callers() -> set[int]:
    """Pks of the work chains that called a process which has not ended."""
    from aiida.orm import ProcessNode, QueryBuilder, WorkChainNode

    from aiida_hqe.queries import ENDED

    active = {"attributes.process_state": {"!in": sorted(ENDED)}}
    query = QueryBuilder().append(WorkChainNode, project="id", tag="caller")
    return set(query.append(ProcessNode, with_incoming="caller", filters=active).all(flat=True))
