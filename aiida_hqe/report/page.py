"""The page of a campaign: one HTML file with style, figures, data and script inside, which opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from aiida_hqe.report.figures import MEV, figures
from aiida_hqe.report.record import CampaignRecord

SECTIONS = (
    "Progress and failures", "Learning curve", "Parity", "Calibration", "Selection", "Cost", "Lineage of a label",
    "Inputs and versions",
)  # fmt: skip
"""Headings of the page, in order."""


NOTHING = "\u2013"
"""What stands in a table where there is no number."""


def render(record: CampaignRecord) -> str:
    """HTML of the page; it holds no address of anything outside itself."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(mev=_mev, percent=_percent, number=_number, duration=_duration)
    return environment.get_template("page.html").render(
        record=record,
        sections=SECTIONS,
        figures=figures(record),
        style=read_asset("page.css"),
        script=read_asset("page.js"),
        lineage=_script_json({str(item["frame"]): item for item in record.lineage}),
        flagged=_flagged(record),
        inputs=_flatten(record.campaign),
        steps=_steps(record),
    )


def read_asset(name: str) -> str:
    """Text of a template, style sheet or script of this room."""
    return resources.files("aiida_hqe.report").joinpath(name).read_text(encoding="utf-8")


def _script_json(value: Any) -> str:
    """JSON that may stand inside a ``script`` element."""
    return json.dumps(value, sort_keys=True).replace("<", "\\u003c").replace("&", "\\u0026")


def _flagged(record: CampaignRecord) -> list[dict[str, Any]]:
    """Lineage of the frames that a committee flagged, by round and rank."""
    flagged = [item for item in record.lineage if item.get("threshold") is not None]
    return sorted(flagged, key=lambda item: (item["round"], item["rank"]))


def _steps(record: CampaignRecord) -> list[dict[str, Any]]:
    """Cost per kind of step over all rounds."""
    names = list(dict.fromkeys(item.step for item in record.costs))
    rows = []
    for name in names:
        items = [item for item in record.costs if item.step == name]
        rows.append(
            {
                "step": name,
                "jobs": sum(item.jobs for item in items),
                "cached": sum(item.cached for item in items),
                "core_seconds": sum(item.core_seconds for item in items),
            }
        )
    return rows


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted keys and values of the campaign document."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            rows.append((prefix + str(key), value if isinstance(value, str) else json.dumps(value)))
    return rows


def _mev(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{MEV * value:.{digits}f}"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.0f} %"


def _number(value: float | None, digits: int = 0) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
