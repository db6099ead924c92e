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
    dropped, a file that is not what was stored, or a held-out frame that was trained on. A sound campaign ends with the bytes
    that it takes in the repository for each label.
    """
    from aiida_hqe import queries
    from aiida_hqe.audit import Audit
    from aiida_hqe.volume import volume

    graph = Audit(queries.campaign(campaign))
    faults = graph.faults()
    taken = None if faults else volume(graph)
    if as_json:
        found = [dataclasses.asdict(fault) for fault in faults]
        size = {} if taken is None else {"bytes_per_label": round(taken.per_label), "times_its_arrays": taken.shares()}
        print_json({"campaign": graph.campaign.pk, "sound": not faults, **graph.counts(), **size, "faults": found})
    else:
        for fault in faults:
            click.echo(str(fault))
        counts = ", ".join(f"{number} {name}" for name, number in graph.counts().items())
        click.echo(f"campaign {graph.campaign.pk}: {len(faults) or 'no'} faults in {counts}")
        if taken is not None:
            click.echo(str(taken))
    ctx.exit(1 if faults else 0)
