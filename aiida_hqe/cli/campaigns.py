"""What the commands about campaigns share: the option ``--json``, and the plain tables they print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from aiida_hqe.writing import replacing

ROUND_COLUMNS = {
    "round": "round",
    "sampled": "sampled",
    "uncertain": "uncertain",
    "flagged": "flagged",
    "labelled": "labelled",
    "failed": "failed",
    "force_error": "force error",
    "coverage": "coverage",
    "fresh_coverage": "fresh",
    "cost": "core s",
}
"""Keys of a round's assessment, and the head of their column."""

ROUND_NOTES = (
    "force error: mean on held-out frames, meV/angstrom; core s: processor time of all jobs of the round",
    "coverage: of the calibrated bounds on held-out frames; fresh: of the earlier bounds on newly labelled frames",
)
"""What the columns mean."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def print_json(value: Any) -> None:
    """Print `value` as JSON on standard output."""
    click.echo(json.dumps(value, indent=1, default=str))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with right-aligned columns under their heads."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def rounds_table(rounds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of a campaign's rounds, one line each."""
    return table(list(ROUND_COLUMNS.values()), [[_cell(record, key) for key in ROUND_COLUMNS] for record in rounds])


def _cell(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return "-"
    if key == "force_error":
        spread = record.get("force_error_uncertainty")
        return f"{1000 * value:.1f}" + ("" if spread is None else f" +- {1000 * spread:.1f}")
    if key == "uncertain" and not record.get("round"):
        return "-"
    if key in {"coverage", "fresh_coverage"}:
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named, whole or not at all.

    Raises
    ------
    InputError, ResourceError
        It cannot be written there, or the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
