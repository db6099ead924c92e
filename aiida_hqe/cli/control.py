"""``aiida-hqe stop``: end a campaign cleanly."""

from __future__ import annotations

import click

from aiida_hqe.errors import InputError


@click.command()
@click.argument("campaign", metavar="PK|UUID")
def stop(campaign: str) -> None:
    """Ask a running campaign to end at its next step, with all that it has: labels, committee, verdict.

    The jobs that run at the moment are waited for, and kept.
    """
    from aiida_hqe import queries
    from aiida_hqe.workchains.campaign import STOP

    node = queries.campaign(campaign)
    if node.is_terminated:
        raise InputError(
            f"a running campaign was expected (campaign {node.pk} is {node.process_state.value}): nothing to stop"
        )
    node.base.extras.set(STOP, True)
    click.echo(f"campaign {node.pk} ends at its next step; `verdi process kill {node.pk}` ends it at once")
