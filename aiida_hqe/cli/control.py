"""``aiida-hqe stop`` and ``extend``: end a campaign cleanly, or go on from where one stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aiida_hqe.errors import InputError

if TYPE_CHECKING:
    from aiida.orm import WorkChainNode

    from aiida_hqe.data.frames import FramesData


@click.command()
@click.argument("campaign", metavar="PK|UUID")
def stop(campaign: str) -> None:
    """Ask a running campaign to end after its present round, with its outputs and verdict."""
    from aiida_hqe import queries
    from aiida_hqe.workchains.campaign import STOP

    node = queries.campaign(campaign)
    if node.is_terminated:
        raise InputError(
            f"a running campaign was expected (campaign {node.pk} is {node.process_state.value}): nothing to stop"
        )
    node.base.extras.set(STOP, True)
    click.echo(f"campaign {node.pk} ends after its present round; `verdi process kill {node.pk}` ends it at once")


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@click.option("--iterations", type=click.IntRange(1), required=True, help="Rounds to add.")
@click.option("--watch", "watching", is_flag=True, help="Stay and show progress until the campaign ends.")
def extend(campaign: str, iterations: int, watching: bool) -> None:
    """Submit a new campaign that starts from the labels of an ended one; none is computed again.

    It trains a committee of its own on them, because the division into training and held-out frames is made anew.
    """
    from aiida_hqe import queries
    from aiida_hqe.cli.submit import announce, require_daemon

    node = queries.campaign(campaign)
    if not node.is_terminated:
        raise InputError(
            f"an ended campaign was expected (campaign {node.pk} is {node.process_state.value}): stop it first"
        )
    require_daemon()
    announce(submit_extension(node, iterations), f"{iterations} more rounds of campaign {node.pk}", watching=watching)


def submit_extension(node: WorkChainNode, iterations: int) -> WorkChainNode:
    """Submit a campaign like `node` that starts from its labels and has `iterations` rounds."""
    from aiida.engine import submit
    from aiida.orm import Dict

    document = node.inputs.campaign.get_dict()
    document["stop"] = document["stop"] | {"iterations": iterations}
    builder = node.get_builder_restart()
    builder.campaign = Dict(document)
    builder.frames = _labels(node)
    if "committee" in builder:
        del builder.committee
    return submit(builder)


def _labels(node: WorkChainNode) -> FramesData:
    if "labels" not in node.outputs:
        raise InputError(
            f"a campaign with labels was expected (campaign {node.pk} ended without any): submit its file anew"
        )
    labels: FramesData = node.outputs.labels
    return labels
