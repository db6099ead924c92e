"""``aiida-hqe demo``: a whole small campaign on this machine, in a profile of its own."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_hqe.cli import profile

if TYPE_CHECKING:
    from aiida.orm import AbstractCode

    from aiida_hqe.queries import State

TEMPLATE = "methanol-water"
"""Template that the demo runs."""


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Folder of the demo: profile, campaign file and report.",
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes of the daemon.")
def demo(directory: Path, workers: int) -> None:
    """Run active learning on methanol in water: profile, daemon, campaign, table and report.

    Everything is written below the folder; a second run reuses the labels of the first.
    """
    start = time.monotonic()
    folder = profile.enter(directory)
    click.echo(
        f"profile {profile.NAME!r} in {directory} (SQLite, ZeroMQ broker), its own daemon with {workers} workers"
    )
    code = profile.open_profile()
    file = campaign_file(folder)
    with profile.daemon(workers), terminable():
        state = run(file, code)
    finish(state, folder, time.monotonic() - start)


def run(file: Path, code: AbstractCode) -> State:
    """Submit the campaign, or go on with one that an earlier run left unfinished, and wait for its end; killed on Ctrl-C."""
    from aiida_hqe.cli.submit import submit_campaign
    from aiida_hqe.cli.watch import Progress, require_success, wait

    pk = unfinished()
    if pk is None:
        node = submit_campaign(file, code)
        pk = node.pk
        click.echo(f"submitted {_shown(file)} as campaign {pk} ({node.uuid})")
    else:
        click.echo(f"campaign {pk} of an earlier run is unfinished: it goes on")
    try:
        state = wait(pk, Progress())
    except KeyboardInterrupt:
        click.echo("\ninterrupted: the running jobs are killed; the next run reuses the finished ones", err=True)
        kill(pk)
        raise
    require_success(state)
    return state


def unfinished() -> int | None:
    """Pk of a campaign that has not ended, the newest."""
    from aiida_hqe import queries

    return next((pk for pk in queries.campaigns() if not queries.state(pk).terminated), None)


def kill(pk: int) -> None:
    """Kill a campaign and its jobs, and wait for their end as long as the daemon needs at most."""
    from aiida.common.exceptions import AiidaException
    from aiida.engine.processes.control import kill_processes
    from aiida.orm import load_node

    from aiida_hqe import queries

    try:
        kill_processes([load_node(pk)], msg_text="the demo was interrupted", timeout=20)
    except AiidaException as error:
        click.echo(f"campaign {pk} did not answer ({error}): `verdi process kill {pk}`", err=True)
        return
    until = time.monotonic() + 20
    while time.monotonic() < until and not queries.state(pk).terminated:
        time.sleep(0.5)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that the daemon is stopped then as well."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def campaign_file(folder: Path) -> Path:
    """The campaign file of the demo, started from its template where there is none yet."""
    from aiida_hqe.campaign import template

    file = folder / TEMPLATE / template.CAMPAIGN
    return file if file.exists() else template.copy(TEMPLATE, folder / TEMPLATE)[0]


def finish(state: State, folder: Path, seconds: float) -> None:
    """Print the table, the verdict, what was reused, the report's path and how to look further."""
    from aiida_hqe import queries
    from aiida_hqe.cli.campaigns import write_text
    from aiida_hqe.cli.watch import details
    from aiida_hqe.report.collect import collect
    from aiida_hqe.report.page import render

    page = folder / "report.html"
    record = collect(queries.campaign(state.pk))
    write_text(page, render(record))
    click.echo("")
    for line in details(state):
        click.echo(line)
    reused, total = queries.reused_labels(state.pk)
    click.echo(f"{reused} of {total} labels reused" + ("" if reused else ": a second run reuses them all"))
    click.echo(f"report: {_shown(page)}")
    click.echo(f"{seconds:.0f} s in all")
    click.echo("look further:")
    for command in further(state.pk, folder, record.example_frame()):
        click.echo(f"  {command}")


def further(pk: int, folder: Path, frame: str | None) -> list[str]:
    """Commands that look into the demo's profile."""
    scripts = profile.scripts()
    commands = [f"export AIIDA_PATH={shlex.quote(str(folder))}", f"{_shown(scripts / 'verdi')} process list -a"]
    commands.append(f"{_shown(scripts / 'aiida-hqe')} status {pk}")
    if frame:
        commands.append(f"{_shown(scripts / 'aiida-hqe')} why {frame[:12]}")
    return commands


def _shown(path: Path) -> str:
    """`path` as one would type it from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
