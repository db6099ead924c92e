"""``aiida-hqe audit``: whether the provenance of a campaign is whole."""

from __future__ import annotations

import dataclasses

import click

from aiida_hqe.cli.campaigns import json_option, print_json


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@json_option
@click.pass_context
def audit(ctx: click.Context, campaign: str, as_json: bool) -> None:
    """Verify a campaign's whole graph; a line for each fault, and exit code 1 where there is one.

    A fault is a node that no process made and nobody declared, a label that no selection asked for, a flagged frame that was
    dropped, a file that is not what was stored, or a held-out frame that was trained on.
    """
    from aiida_hqe import queries
    from aiida_hqe.audit import Audit

    graph = Audit(queries.campaign(campaign))
    faults = graph.faults()
    if as_json:
        found = [dataclasses.asdict(fault) for fault in faults]
        print_json({"campaign": graph.campaign.pk, "sound": not faults, **graph.counts(), "faults": found})
    else:
        for fault in faults:
            click.echo(str(fault))
        counts = ", ".join(f"{number} {name}" for name, number in graph.counts().items())
        click.echo(f"campaign {graph.campaign.pk}: {len(faults) or 'no'} faults in {counts}")
    ctx.exit(1 if faults else 0)
