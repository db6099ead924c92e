"""What a profile leans on, looked at by ``aiida-hqe doctor``: storage, broker, daemon, computers, codes, paused processes."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aiida_hqe.cli import broker, profile, supervisor
from aiida_hqe.errors import ResourceError

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile
    from aiida.orm import Computer, InstalledCode

PATIENCE = 5.0
"""Seconds that a service has to take a connection."""

REVIVE = "verdi daemon stop; verdi process repair; verdi daemon start"
"""Command that gives a task to every process that lost its own."""

_LENGTH = 300


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    state
        ``ok``, ``missing`` (a part that is needed) or ``optional`` (a part that is not there and not needed, or a risk).
    repair
        What puts it right: a command, where there is one.
    """

    name: str
    state: str
    message: str
    repair: str | None = None


def examine(loaded: Profile) -> Iterator[Finding]:
    """Look at everything that the loaded profile leans on; without its storage there is nothing more to be seen."""
    storage = look_at_storage(loaded)
    yield storage
    yield from look_at_broker(loaded)
    if storage.state == "ok":
        yield from look_at_tasks(loaded)
        yield from look_at_codes()
        yield from look_at_processes()


def look_at_storage(loaded: Profile) -> Finding:
    """Database and repository."""
    config = loaded.storage_config
    if "database_hostname" in config:
        host, port = config["database_hostname"] or "localhost", int(config["database_port"] or 5432)
        fault = unreachable(host, port)
        if fault is not None:
            message = f"PostgreSQL does not answer at {host}:{port} ({fault})"
            return Finding(
                "storage",
                "missing",
                message,
                f"start PostgreSQL there, then run: {REVIVE}",
            )
    try:
        storage = profile.storage()
    except ResourceError as error:
        migrate = f"verdi -p {loaded.name} storage migrate"
        repair = (
            migrate if migrate in str(error.__cause__) else "restore it from a backup, or make another: verdi presto"
        )
        return Finding("storage", "missing", one_line(error.__cause__ or error).partition(" [SQL")[0], repair)
    place = config.get("filepath") or f"{config.get('database_name')} at {config.get('database_hostname')}"
    return Finding("storage", "ok", f"{storage.profile.storage_backend} in {place}")


def look_at_broker(loaded: Profile) -> Iterator[Finding]:
    """Broker, and the daemon that hangs on it."""
    kind = loaded.process_control_backend
    if kind is None:
        repair = "verdi profile configure-broker"
        yield Finding("broker", "missing", "the profile has none: nothing can be submitted", repair)
        return
    config: dict[str, Any] = loaded.process_control_config
    if "broker_host" in config:
        host, port = config["broker_host"], int(config["broker_port"])
        fault = unreachable(host, port)
        if fault is None:
            yield Finding("broker", "ok", f"{kind} at {host}:{port}")
        else:
            message = f"RabbitMQ does not answer at {host}:{port} ({fault})"
            repair = "start RabbitMQ there; a daemon of several workers: stop it before that, and start it after"
            yield Finding("broker", "missing", message, repair)
    elif kind == broker.KIND:
        yield look_at_own_broker(loaded)
    else:
        yield Finding("broker", "ok", kind)
    daemon = look_at_daemon(kind)
    yield daemon
    if daemon.state != "missing":
        yield from look_at_statistics()


def obstacles(loaded: Profile) -> list[Finding]:
    """Why no process of a profile goes on, as far as one sees it without asking another machine."""
    kind = loaded.process_control_backend
    if kind is None:
        return []
    found = [look_at_daemon(kind), *([look_at_own_broker(loaded)] if kind == broker.KIND else [])]
    return [finding for finding in (*found, *look_at_tasks(loaded)) if finding.state == "missing"]


def look_at_own_broker(loaded: Profile) -> Finding:
    """The broker that runs with the daemon: nothing left of one that was killed, and the workers hang on it."""
    from aiida.engine.daemon.client import get_daemon_client

    runs = profile.running(get_daemon_client())
    left = broker.leftovers(loaded)
    if left:
        remove = "rm -f " + " ".join(shlex.quote(str(path)) for path in left)
        repair = f"verdi daemon stop; {remove}; verdi process repair; verdi daemon start" if runs else remove
        return Finding("broker", "missing", "it was killed: workers may wait for it where it was, for ever", repair)
    if runs and broker.workers(loaded) == 0 and (broker.age(loaded) or 0.0) < broker.YOUNG:
        message = "it has just started, and no worker of the daemon hangs on it yet: that takes some seconds"
        return Finding("broker", "optional", message, "aiida-hqe doctor")
    if runs and broker.workers(loaded) == 0:
        message = "no worker of the daemon hangs on it: where it stays so, nothing goes on"
        return Finding("broker", "missing", message, REVIVE)
    return Finding("broker", "ok", f"{broker.KIND} (runs with the daemon)")


def look_at_tasks(loaded: Profile) -> Iterator[Finding]:
    """Processes that were submitted when no broker ran."""
    lost = broker.forgotten(loaded)
    if lost:
        named = ", ".join(map(str, lost[:5])) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        message = f"no worker will ever begin {named}: submitted while no broker ran, and in no queue"
        yield Finding("tasks", "missing", message, REVIVE)


def look_at_daemon(kind: str) -> Finding:
    """Daemon of the loaded profile.

    RabbitMQ hands a task whose worker lost its connection to any worker, and AiiDA has no lock on a process: where the broker
    restarts, two workers may go on with one process, which it does not survive.
    """
    from aiida.engine.daemon.client import get_daemon_client

    client = get_daemon_client()
    if not profile.running(client):
        return Finding("daemon", "missing", "it does not run", "verdi daemon start")
    workers = number_of_workers(int(client.get_daemon_pid() or 0))
    if kind == "core.rabbitmq" and workers > 1:
        message = f"has {workers} workers: where RabbitMQ restarts, two may go on with one process, and break it"
        return Finding("daemon", "optional", message, f"verdi daemon decr {workers - 1}")
    return Finding("daemon", "ok", f"runs as process {client.get_daemon_pid()}; log {client.daemon_log_file}")


def look_at_statistics() -> Iterator[Finding]:
    """What the supervisor of a daemon that runs does in vain."""
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    client = get_daemon_client()
    try:
        found = supervisor.takes_statistics(client)
    except DaemonException as error:
        yield Finding("daemon", "missing", f"it does not answer: {one_line(error)}", "verdi daemon restart")
        return
    if found:
        share = f"{supervisor.SHARE:.0%} of a processor"
        message = f"its supervisor takes statistics of it, which nothing reads: {share}, until the daemon restarts"
        yield Finding("daemon", "optional", message, supervisor.stop_command(client))


def number_of_workers(daemon: int) -> int:
    """Workers below the process of a daemon."""
    import psutil

    try:
        return sum(child.cmdline()[-1:] == ["worker"] for child in psutil.Process(daemon).children())
    except psutil.NoSuchProcess:
        return 0


def look_at_codes() -> Iterator[Finding]:
    """Codes that run ``hqe-job``, and the computers that they are on."""
    codes = job_codes()
    if not codes:
        yield Finding("code", "missing", f"there is no code {profile.CODE}", profile.make_code_command())
    for computer in {code.computer.pk: code.computer for code in codes}.values():
        yield from look_at_computer(computer, [code for code in codes if code.computer.pk == computer.pk])


def job_codes() -> list[InstalledCode]:
    """Codes of the profile whose program is ``hqe-job``."""
    from aiida.orm import InstalledCode, QueryBuilder

    query = QueryBuilder().append(InstalledCode, filters={"attributes.filepath_executable": {"like": "%hqe-job"}})
    return [code for code in query.all(flat=True) if not code.is_hidden]


def look_at_computer(computer: Computer, codes: list[InstalledCode]) -> Iterator[Finding]:
    """Connection, scheduler, and the program of each of the `codes` there."""
    from aiida.common.exceptions import AiidaException

    name, host = f"computer {computer.label}", f"{computer.hostname} ({computer.transport_type})"
    try:
        with computer.get_transport() as transport:
            scheduler = computer.get_scheduler()
            scheduler.set_transport(transport)
            try:
                scheduler.get_jobs(as_dict=True)
                yield Finding(name, "ok", f"{host} answers, and so does its scheduler {computer.scheduler_type}")
            except AiidaException as error:
                message = f"{host} answers, its scheduler {computer.scheduler_type} does not: {one_line(error)}"
                yield Finding(name, "missing", message, "wait until it is back: jobs that run go on, AiiDA asks again")
            for code in codes:
                yield look_at_program(code, transport)
    except (AiidaException, OSError) as error:
        repair = f"verdi computer test {shlex.quote(computer.label)}"
        yield Finding(name, "missing", f"no connection to {host}: {one_line(error)}", repair)


def look_at_program(code: InstalledCode, transport: Any) -> Finding:
    """Whether the program of a code is there, and may be run."""
    executable = str(code.filepath_executable)
    if transport.exec_command_wait(f"test -x {shlex.quote(executable)}")[0] == 0:
        return Finding("code", "ok", f"{code.full_label} runs {executable}")
    message = f"{code.full_label} runs {executable}, which is no program there"
    elsewhere = {} if code.computer.transport_type == "core.local" else {"executable": "/path/there/to/hqe-job"}
    make = profile.make_code_command(shlex.quote(code.full_label), **elsewhere)
    gone = f"verdi code hide {code.pk}; verdi code relabel {code.pk} {shlex.quote(code.label + '-gone')}"
    return Finding("code", "missing", message, f"{gone}; {make}")


def look_at_processes() -> Iterator[Finding]:
    """Processes that AiiDA has paused, because a connection failed too often in a row."""
    from aiida.orm import ProcessNode, QueryBuilder

    from aiida_hqe.queries import ENDED

    filters = {"attributes.paused": True, "attributes.process_state": {"!in": sorted(ENDED)}}
    paused = QueryBuilder().append(ProcessNode, filters=filters, project="id").all(flat=True)
    if paused:
        pks = " ".join(map(str, sorted(paused)))
        message = f"{len(paused)} wait paused, as after five failures to reach a computer or its scheduler: {pks}"
        yield Finding("processes", "missing", message, f"verdi process play {pks}")


def unreachable(host: str, port: int) -> str | None:
    """Why nothing takes a connection at a port; ``None`` where something does."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return None
    except OSError as error:
        return os.strerror(error.errno) if error.errno else one_line(error)


def one_line(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())[:_LENGTH] or type(error).__name__
