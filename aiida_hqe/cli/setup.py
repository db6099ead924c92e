"""``aiida-hqe init``, ``check`` and ``plan``: from an empty folder to a campaign that can be submitted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


def template_names() -> list[str]:
    """Names of the templates, for completion."""
    from aiida_hqe.campaign.template import names

    return names()


@click.command()
@click.argument("directory", type=FILE)
@click.option(
    "--template",
    metavar="NAME",
    default="methanol-water",
    show_default=True,
    shell_complete=lambda _context, _option, begun: [name for name in template_names() if name.startswith(begun)],
    help="methanol-water, peptide or peptide-water.",
)
def init(directory: Path, template: str) -> None:
    """Start a campaign in DIRECTORY from a template; nothing is overwritten."""
    from aiida_hqe.campaign.template import copy

    written = copy(template, directory)
    click.echo(f"wrote {', '.join(str(path) for path in written)}")
    file = shlex.quote(f"./{written[0]}" if str(written[0]).startswith("-") else str(written[0]))
    click.echo(f"next: edit it, then `aiida-hqe check {file}` and `aiida-hqe plan {file}`")


@click.command()
@click.argument("campaign", type=FILE)
@click.option(
    "--json", "as_json", is_flag=True, help="Print every setting in full, and the size of the system, as JSON."
)
def check(campaign: Path, as_json: bool) -> None:
    """Validate the file CAMPAIGN and set its system up; nothing is computed or stored."""
    from aiida_hqe.campaign import check as checking

    summary = checking.check(campaign).summary()
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    links = f" (and link atoms: {summary['link_atoms']})" if summary["link_atoms"] else ""
    atoms = f"{summary['atoms']} atoms, {summary['qm_atoms']} of them QM{links}"
    click.echo(
        f"{campaign}: in order: {atoms} in {summary['point_charges']} point charges,"
        f" {summary['cores']} quantum core{'' if summary['cores'] == 1 else 's'}; at most {summary['max_labels']} labels"
    )


@click.command()
@click.argument("campaign", type=FILE)
@click.option(
    "--measure", is_flag=True, help="Label the configuration of the set-up once, and measure instead of estimating."
)
@click.option("-p", "--profile", metavar="PROFILE", help="AiiDA profile: say which of its labels would be reused.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(campaign: Path, measure: bool, profile: str | None, as_json: bool) -> None:
    """Dry run of the file CAMPAIGN: sizes, processes, what the labels will cost, and what caching reuses."""
    from aiida_hqe.campaign.check import check

    checked = check(campaign)
    found = checked.plan(measure=measure)
    if profile is not None:
        from aiida_hqe.cli.reuse import reuse

        found = found.model_copy(update={"caching": reuse(profile, checked.campaign, checked.directory)})
    if as_json:
        click.echo(json.dumps(found.model_dump(mode="json"), indent=1))
        return
    for name, value in found.table():
        click.echo(f"{name:<24} {value}")
