"""``aiida-hqe report``: the page of a campaign."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_hqe.cli.campaigns import json_option, print_json, write_text


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True
)
@json_option
def report(campaign: str, output: Path, as_json: bool) -> None:
    """Write one self-contained HTML page about a campaign, or with --json print what it shows."""
    import dataclasses

    from aiida_hqe import queries
    from aiida_hqe.report.collect import collect
    from aiida_hqe.report.page import render

    record = collect(queries.campaign(campaign))
    if as_json:
        print_json(dataclasses.asdict(record))
        return
    write_text(output, render(record))
    click.echo(str(output))
