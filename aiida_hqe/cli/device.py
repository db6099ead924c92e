"""``--device`` of the commands in which networks compute."""

from __future__ import annotations

import click

DEVICE = click.option(
    "--device",
    metavar="NAME",
    default="cpu",
    show_default=True,
    help="Where the networks compute: cpu, cuda, or cuda:1 and so on.",
)
