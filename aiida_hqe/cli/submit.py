"""``aiida-hqe submit``: a checked campaign file to the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_hqe.cli import broker, profile, slots
from aiida_hqe.errors import InputError, ResourceError

if TYPE_CHECKING:
    from aiida.orm import AbstractCode, WorkChainNode


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option("--watch", "watching", is_flag=True, help="Stay and show progress until the campaign ends.")
@click.option(
    "--code", "label", default=profile.CODE, show_default=True, help="Code that runs hqe-job: label, pk or uuid."
)
def submit(campaign: Path, watching: bool, label: str) -> None:
    """Check CAMPAIGN (a YAML file) and submit it to the daemon of AiiDA."""
    announce(submit_campaign(campaign, load_code(label)), str(campaign), watching=watching)


def announce(node: WorkChainNode, what: str, *, watching: bool) -> None:
    """Print what was submitted and the next commands, or stay and show its progress."""
    click.echo(f"submitted {what} as campaign {node.pk} ({node.uuid})")
    if watching:
        from aiida_hqe.cli.watch import follow

        follow(node.pk)
        return
    click.echo("next:")
    for command in (
        f"aiida-hqe watch {node.pk}",
        f"aiida-hqe status {node.pk}",
        f"aiida-hqe report {node.pk} -o report.html",
    ):
        click.echo(f"  {command}")


def submit_campaign(path: Path, code: AbstractCode) -> WorkChainNode:
    """Check the campaign file `path` and submit it; nothing is stored when the check fails.

    Raises
    ------
    InputError
        The file, or the system that it names, is wrong.
    ResourceError
        No daemon runs in this profile, or it has no slots for one more campaign.
    """
    from aiida.engine import submit as submit_process

    from aiida_hqe.campaign.check import check

    checked = check(path)
    require_daemon()
    slots.require_room()
    from aiida_hqe.workchains.campaign import CampaignWorkChain

    builder = CampaignWorkChain.get_builder_from_campaign(code, checked.campaign, checked.directory)
    return submit_process(builder)


def require_daemon() -> None:
    """Raise `ResourceError` unless the daemon of the loaded profile runs, and its broker."""
    from aiida.common.exceptions import ConfigurationError
    from aiida.engine.daemon.client import get_daemon_client

    try:
        client = get_daemon_client()
    except ConfigurationError as error:
        raise ResourceError(
            f"a profile with a broker was expected ({error}): run `verdi profile configure-broker`"
        ) from error
    if not profile.running(client):
        raise ResourceError("the daemon of AiiDA does not run: start it with `verdi daemon start`")
    broker.await_address(client.profile)


def load_code(label: str) -> AbstractCode:
    """The code named `label` (label, pk or uuid) of the loaded profile.

    Raises
    ------
    InputError
        There is none, or more than one; the message holds the command that makes one.
    """
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    try:
        return orm.load_code(label)
    except (NotExistent, OverflowError) as error:  # the latter of SQLite, on a number out of reach
        raise InputError(
            f"a code {label!r} was expected in this profile (got none): run `{profile.make_code_command()}`, or name another"
            " with --code"
        ) from error
    except (MultipleObjectsError, ValueError) as error:
        raise InputError(f"one code {label!r} was expected ({error}): name it by its pk") from error
