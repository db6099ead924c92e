"""``aiida-hqe report``: the page of a campaign."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_hqe.cli.campaigns import json_option, print_json, write_text
from aiida_hqe.errors import InputError

SUFFIXES = (".html", ".htm")
"""What the name of a page ends in."""


@click.command()
@click.argument("campaign", metavar="PK|UUID")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True
)
@json_option
def report(campaign: str, output: Path, as_json: bool) -> None:
    """Write one self-contained HTML page (.html) about a campaign, or with --json print what it shows."""
    import dataclasses

    if output.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{output}: a file name that ends in {' or '.join(SUFFIXES)} was expected: a browser prints the page as PDF"
        )
    from aiida_hqe import queries
    from aiida_hqe.report.collect import collect
    from aiida_hqe.report.page import render

    record = collect(queries.campaign(campaign))
    if as_json:
        print_json(dataclasses.asdict(record))
        return
    write_text(output, render(record))
    click.echo(str(output))
