"""``aiida-hqe why``: why a frame was labelled, and what that cost."""

from __future__ import annotations

from typing import Any

import click

from aiida_hqe.cli.campaigns import json_option, print_json
from aiida_hqe.errors import InputError

MEV = 1000.0


@click.command()
@click.argument("frame", metavar="FRAME")
@json_option
def why(frame: str, as_json: bool) -> None:
    """Say which committee flagged a labelled frame, why, and what its label cost.

    FRAME is the content hash of the frame or its beginning, or PK:INDEX, the INDEX-th label (from 0) of campaign PK.
    """
    from aiida_hqe.report import lineage

    found = _by_index(*frame.split(":", 1)) if ":" in frame else lineage.find(frame.lower())
    item = found[0] | lineage.members(found[0])
    if as_json:
        print_json(item | {"also_in": [other["campaign"] for other in found[1:]]})
        return
    for line in explain(item):
        click.echo(line)
    if len(found) > 1:
        click.echo(f"also labelled, or reused, in campaigns {', '.join(str(item['campaign']) for item in found[1:])}")


def _by_index(campaign: str, index: str) -> list[dict[str, Any]]:
    from aiida_hqe import queries
    from aiida_hqe.report.lineage import lineage

    items = lineage(queries.campaign(campaign).pk)
    if not index.isdecimal() or int(index) >= len(items):
        wanted = f"PK:INDEX with an index below {len(items)}, the number of its labels,"
        raise InputError(f"{wanted} was expected (got {campaign}:{index}): choose another")
    return [items[int(index)]]


def explain(item: dict[str, Any]) -> list[str]:
    """Lines that say what is known of a labelled frame."""
    rows = [("frame", item["frame"]), ("campaign", item["campaign"]), *_choice(item), *_label(item)]
    return [f"{name:14}{value}" for name, value in rows if value is not None]


def _choice(item: dict[str, Any]) -> list[tuple[str, Any]]:
    if item["round"] is None:
        return [("reason", "given to the campaign as an input")]
    rows: list[tuple[str, Any]] = [("round", item["round"]), ("reason", item["reason"]), ("rank", item["rank"])]
    if item["committee"] is None:
        return [*rows, ("committee", "none yet: sampled with the force field, and labelled without being judged")]
    members = ", ".join(f"{MEV * value:.1f}" for value in item["members"] or [])
    return [
        *rows,
        ("committee", item["committee"]),
        ("calibration", item["calibration"]),
        ("members", f"{members} meV/angstrom from their mean"),
        ("atoms", _atoms(item)),
        ("disagreement", f"{_mev(item['disagreement'])}, threshold {_mev(item['threshold'])}"),
        ("bound", f"{_mev(item['bound'])}, the calibrated bound of the force error"),
        ("force error", f"{_mev(item['force_error'])}, found once the frame was labelled"),
    ]


def _atoms(item: dict[str, Any]) -> str | None:
    """The atoms that the members disagree about most."""
    if item["atoms"] is None:
        return None
    worst = sorted(range(len(item["atoms"])), key=lambda atom: -item["atoms"][atom])[:3]
    spreads = ", ".join(f"{atom} ({MEV * item['atoms'][atom]:.1f})" for atom in worst)
    return f"{spreads} meV/angstrom: where the members' forces differ most, counted from 0 in the QM region"


def _label(item: dict[str, Any]) -> list[tuple[str, Any]]:
    energy = (
        None if item["energy"] is None else f"{item['energy']:.6f} eV (environment {item['environment_energy']:.6f} eV)"
    )
    cost = f"{item['seconds'] or 0:.1f} s, of which quantum cores {item['core_seconds'] or 0:.1f} s"
    steps = ("sampled_by", "selected_by", "expected_by", "labelled_by")
    nodes = ", ".join(f"{step.replace('_', ' ')} {item[step]}" for step in steps if item[step] is not None)
    return [("label", energy), ("cost", cost), ("used for", item["used_for"]), ("processes", nodes)]


def _mev(value: float | None) -> str:
    return "unknown" if value is None else f"{MEV * value:.1f} meV/angstrom"
