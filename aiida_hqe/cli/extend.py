"""``aiida-hqe extend``: go on from where a campaign ended."""

from __future__ import annotations

import click

from aiida_hqe.cli.limits import ROUNDS
from aiida_hqe.errors import InputError


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@click.option("--iterations", type=click.IntRange(1, ROUNDS), required=True, help="Rounds to add.")
@click.option("--code", "label", help="Code that runs hqe-job: label, pk or uuid. Default: that of the campaign.")
@click.option("--watch", "watching", is_flag=True, help="Stay and show progress until the campaign ends.")
def extend(campaign: str, iterations: int, label: str | None, watching: bool) -> None:
    """Submit a new campaign that goes on from the last committee and all labels of an ended one.

    The earlier campaign may have converged, failed, been stopped or killed, or been imported (then name a code of this
    profile). No label is computed again, and frames that were held out stay so.
    """
    from aiida.engine import submit

    from aiida_hqe import queries
    from aiida_hqe.cli import slots
    from aiida_hqe.cli.submit import announce, load_code, require_daemon
    from aiida_hqe.workchains.extension import builder_from_earlier

    node = queries.campaign(campaign)
    if not node.is_terminated:
        raise InputError(
            f"an ended campaign was expected (campaign {node.pk} is {node.process_state.value}): stop it first"
        )
    builder = builder_from_earlier(node, iterations, None if label is None else load_code(label))
    require_daemon()
    slots.require_room()
    announce(submit(builder), f"{iterations} more rounds of campaign {node.pk}", watching=watching)
