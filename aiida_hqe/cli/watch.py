"""``aiida-hqe status`` and ``watch``: where a campaign stands, and its progress until it ends."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aiida_hqe.cli import profile
from aiida_hqe.cli.campaigns import ROUND_NOTES, json_option, print_json, rounds_table
from aiida_hqe.errors import HQEError, ResourceError

if TYPE_CHECKING:
    from aiida.engine.daemon.client import DaemonClient

    from aiida_hqe.queries import Counts, State

POLL = 1.0
"""Seconds between two looks at the database."""

QUIET = 15.0
"""Where the output is no terminal, an unchanged stage prints at most one line in this many seconds."""

_GRACE = 10.0
_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@json_option
def status(campaign: str, as_json: bool) -> None:
    """Print where a campaign stands: one line, one for each thing that keeps it from going on, then a line per round."""
    from aiida.manage import get_manager

    from aiida_hqe import pauses, queries
    from aiida_hqe.cli import services

    state = queries.state(queries.campaign(campaign).pk)
    paused = [] if state.terminated else pauses.paused(state.pk)
    loaded = get_manager().get_profile()
    obstacles = [] if state.terminated or loaded is None else services.obstacles(loaded)
    if as_json:
        print_json({**state.as_dict(), "paused": [process._asdict() for process in paused]})
        return
    click.echo(summary(state, None if state.terminated else queries.progress(state.pk)))
    for finding in obstacles:
        click.echo(f"nothing works on it: {finding.name}: {finding.message}; run `{finding.repair}`")
    for process in paused:
        click.echo(process.remedy)
    for line in details(state):
        click.echo(line)


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@json_option
def watch(campaign: str, as_json: bool) -> None:
    """Show the progress of a campaign until it ends, then its table and verdict."""
    from aiida_hqe import queries

    follow(queries.campaign(campaign).pk, as_json=as_json)


def follow(pk: int, *, as_json: bool = False) -> State:
    """Show progress of campaign `pk` until it ends, then its table; with `as_json` progress goes to standard error.

    Raises
    ------
    HQEError
        The campaign failed, excepted or was killed.
    ResourceError
        The daemon died while the campaign had not ended.
    """
    try:
        state = wait(pk, Progress(error_stream=as_json))
    except KeyboardInterrupt:
        click.echo(
            f"\ncampaign {pk} goes on: `aiida-hqe watch {pk}` shows it again, `aiida-hqe stop {pk}` ends it", err=True
        )
        raise click.exceptions.Exit(HQEError.exit_code) from None
    if as_json:
        print_json(state.as_dict())
    else:
        for line in details(state):
            click.echo(line)
    require_success(state)
    return state


def wait(pk: int, progress: Progress) -> State:
    """Poll campaign `pk` until it ends; shows each state to `progress`."""
    from aiida.engine.daemon.client import get_daemon_client

    from aiida_hqe import pauses, queries

    client = get_daemon_client()
    last_alive = time.monotonic()
    while True:
        state = queries.state(pk)
        if state.terminated:
            progress.close()
            return state
        progress.show(state, queries.progress(pk))
        for process in pauses.paused(pk):
            progress.note(process.remedy)
        if profile.running(client):
            last_alive = time.monotonic()
        elif time.monotonic() - last_alive > _GRACE:
            progress.close()
            raise _daemon_died(client, pk)
        time.sleep(POLL)


def _daemon_died(client: DaemonClient, pk: int) -> ResourceError:
    return ResourceError(
        f"the daemon stopped while campaign {pk} was running: start it with `verdi daemon start` and the campaign goes on;"
        f" its log is {client.daemon_log_file}"
    )


def require_success(state: State) -> None:
    """Raise `HQEError` with one line, and where to look, unless the campaign finished well."""
    if state.finished_ok:
        return
    from aiida.engine.daemon.client import get_daemon_client

    endings = {"finished": f"failed with exit code {state.exit_status}", "killed": "was killed"}
    ending = endings.get(state.process_state, state.process_state)
    message = state.exit_message or state.last_exception or "no message"
    raise HQEError(
        f"campaign {state.pk} {ending}: {' '.join(message.split())}; see `verdi process report {state.pk}` and"
        f" {get_daemon_client().daemon_log_file}"
    )


def summary(state: State, running: Counts | None = None) -> str:
    """One line: name, how it ended or where it is."""
    name = f"campaign {state.pk} ({state.label or state.uuid[:8]})"
    if not state.terminated:
        return f"{name}: {stage(state, running)}"
    ending = f"{state.process_state} with exit code {state.exit_status}: {state.exit_message}"
    return f"{name}: {ending if state.exit_status else state.process_state}"


def stage(state: State, running: Counts | None = None) -> str:
    """What the campaign does at the moment: ``round 1: labelling 3/12, about 4 min left``.

    Parameters
    ----------
    running
        What its running jobs have done, and have to do, as they say themselves.
    """
    if state.stage is None:
        return "waiting for the daemon"
    done, total = (running.done, running.total) if running and running.total else (state.done, state.total)
    counts = f" {done}/{total}" if total else ""
    return f"round {state.round}: {state.stage}{counts}{time_left(running)}"


def time_left(running: Counts | None) -> str:
    """Estimate of the time that the running jobs still need, where there is one."""
    seconds = running.seconds_left(datetime.now(UTC)) if running else None
    if not seconds:
        return ""
    unit, name = next((unit, name) for unit, name in _UNITS if seconds >= 2 * unit or unit == 1)
    return f", about {seconds / unit:.0f} {name} left"


def details(state: State) -> list[str]:
    """Table of the rounds, and the verdict once there is one."""
    from aiida_hqe import queries

    costs = queries.round_costs(state.pk)
    rounds = [{**item, "cost": costs.get(item["round"])} for item in state.rounds]
    lines = [*rounds_table(rounds), *ROUND_NOTES] if rounds else []
    if state.verdict:
        lines.append(f"verdict: {verdict_line(state.verdict)}")
    return lines


def verdict_line(verdict: dict[str, Any]) -> str:
    """One line of a verdict: whether it converged, or why it stopped."""
    return str(verdict.get("reason") or ("converged" if verdict.get("converged") else "stopped"))


class Progress:
    """Draws the state of a campaign: one line rewritten on a terminal, plain lines elsewhere.

    Parameters
    ----------
    error_stream
        Draw on standard error, because standard output carries JSON.
    """

    def __init__(self, *, error_stream: bool = False) -> None:
        self._stream = sys.stderr if error_stream else sys.stdout
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._start = time.monotonic()
        self._place: tuple[int, str | None] | None = None
        self._line, self._last = "", -QUIET
        self._notes: set[str] = set()

    def show(self, state: State, running: Counts | None = None) -> None:
        """Draw `state` and what its jobs have done, if that says something new."""
        elapsed = time.monotonic() - self._start
        line = f"{elapsed:6.0f} s  {stage(state, running)}"
        if self._terminal:
            click.echo(f"\r\x1b[K{line}", file=self._stream, nl=False)
            return
        place = (state.round, state.stage)
        if place != self._place or (line != self._line and elapsed - self._last >= QUIET):
            click.echo(line, file=self._stream)
            self._place, self._line, self._last = place, line, elapsed

    def note(self, text: str) -> None:
        """Print a line that stays, once."""
        if text not in self._notes:
            self._notes.add(text)
            self.close()
            click.echo(text, file=self._stream)

    def close(self) -> None:
        """Leave the rewritten line."""
        if self._terminal:
            click.echo("\r\x1b[K", file=self._stream, nl=False)
