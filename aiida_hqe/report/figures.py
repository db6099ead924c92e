"""The figures of the page: matplotlib drawings as inline SVG, in one sober style."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_hqe.report.record import CampaignRecord, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#666666",
)  # fmt: skip
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

STEP_COLOURS = {"prepare": GREY, "sample": SKY, "label": BLUE, "train": ORANGE, "predict": PURPLE}

MEV = 1000.0
"""meV in one eV: errors are drawn in meV and meV/angstrom."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.direction": "out",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.3,
    "mathtext.default": "regular",
}


def figures(record: CampaignRecord) -> dict[str, str]:
    """SVG of every figure that `record` has data for, by name."""
    drawn = {
        "learning": _learning if record.learning_curve else None,
        "parity": _parity if record.parity else None,
        "calibration": _calibration if record.calibration else None,
        "selection": _selection if _with_threshold(record) else None,
        "landscape": _landscape if record.landscape and record.selections else None,
        "cost": _cost if record.costs else None,
    }
    return {name: svg(name, partial(draw, record)) for name, draw in drawn.items() if draw is not None}


def svg(name: str, draw: Callable[[], Figure]) -> str:
    """Draw, and strip what inline SVG does not need (prologue, metadata, namespaces), so that no address is left."""
    import matplotlib as mpl

    style: Any = {**STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        buffer = io.StringIO()
        draw().savefig(buffer, format="svg", dpi=220, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)


def _panels(columns: int, width: float = 8.3, height: float = 2.8) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def _learning(record: CampaignRecord) -> Figure:
    points = record.learning_curve
    energies = all(point.energy_error is not None for point in points)
    figure, axes = _panels(2 if energies else 1, width=8.3 if energies else 4.6)
    for number, point in enumerate(points):
        axes[0].plot(
            [number] * len(point.member_errors), MEV * np.array(point.member_errors), "_", color=GREY, markersize=9
        )
    axes[0].plot([], [], "_", color=GREY, markersize=9, label="single members")
    errors = [(point.force_error, point.force_error_uncertainty) for point in points]
    _error_line(axes[0], errors, BLUE, "committee mean")
    axes[0].set(title="a  Force error", ylabel="force error (meV/Å)")
    if record.target_force_error is not None:
        axes[0].axhline(MEV * record.target_force_error, color=VERMILION, linestyle="--", linewidth=0.9, label="target")
    axes[0].legend()
    if energies:
        errors = [(point.energy_error or 0.0, point.energy_error_uncertainty or 0.0) for point in points]
        _error_line(axes[1], errors, ORANGE, "committee mean")
        axes[1].set(title="b  Target energy error", ylabel="mean absolute energy error (meV)")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.margins(x=0.12)
        _name_rounds(axis, [(point.round, point.training_frames) for point in points])
    return figure


def _name_rounds(axis: Axes, rounds: Sequence[tuple[int, int]]) -> None:
    """Name each round, or where they are many every second, third, ..., with the size of its training set."""
    shown = list(enumerate(rounds))[:: 1 + len(rounds) // 9]
    axis.set_xticks([place for place, _ in shown], [f"{number}\n{frames} frames" for _, (number, frames) in shown])
    axis.set_xlabel("round, and frames trained on")


def _error_line(axis: Axes, errors: Sequence[tuple[float, float]], colour: str, label: str) -> None:
    """Line of (error, uncertainty) of round after round, in meV; no bar where the uncertainty is not known."""
    values, bars = MEV * np.array(errors).T
    places = range(len(values))
    axis.errorbar(
        places,
        values,
        yerr=bars if bars.any() else None,
        fmt="o-",
        color=colour,
        markersize=4,
        capsize=2.5,
        label=label,
    )


def _parity(record: CampaignRecord) -> Figure:
    assert record.parity is not None
    figure, axes = _panels(3, height=2.9)
    reference, predicted = (np.array(values) for values in record.parity.energies)
    if len(reference):
        shift = reference.mean()
        _diagonal(axes[0], MEV * (reference - shift), MEV * (predicted - shift), "meV")
    axes[0].set(title="a  Target energies", xlabel="label (meV)", ylabel="committee (meV)")
    for axis, letter, name, pair in (
        (axes[1], "b", "Forces on QM atoms", record.parity.forces),
        (axes[2], "c", "Forces on point charges", record.parity.mm_forces),
    ):
        _diagonal(axis, np.array(pair[0]), np.array(pair[1]), "eV/Å")
        axis.set(title=f"{letter}  {name}", xlabel="label (eV/Å)", ylabel="committee (eV/Å)")
    return figure


def _diagonal(axis: Axes, reference: Any, predicted: Any, unit: str) -> None:
    if not len(reference):
        return
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    margin = 0.05 * (high - low or 1.0)
    axis.plot([low - margin, high + margin], [low - margin, high + margin], color=GREY, linewidth=0.8)
    many = len(reference) > 300
    marker, size = (".", 2.5) if many else ("o", 3.5)
    axis.plot(reference, predicted, marker, color=BLUE, markersize=size, alpha=0.6, markeredgewidth=0, rasterized=many)
    error = np.abs(predicted - reference)
    scale, shown = (MEV, "meV/Å") if unit == "eV/Å" else (1.0, unit)
    text = f"MAE {scale * error.mean():.3g} {shown}\nRMSE {scale * np.sqrt((error**2).mean()):.3g} {shown}"
    axis.text(0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=7.5)
    axis.set_aspect("equal", adjustable="datalim")


def _calibration(record: CampaignRecord) -> Figure:
    assert record.calibration is not None
    figure, axes = _panels(2)
    calibration = record.calibration
    errors = MEV * np.array(calibration["errors"])
    bounds = MEV * calibration["force_factor"] * np.array(calibration["disagreements"])
    covered = errors <= bounds
    top = 1.08 * max(errors.max(), bounds.max())
    axes[0].fill_between([0, top], [0, top], color=BLUE, alpha=0.06, linewidth=0)
    axes[0].plot([0, top], [0, top], color=GREY, linewidth=0.8)
    axes[0].plot(bounds[covered], errors[covered], "o", color=BLUE, markersize=3.5, label="covered")
    axes[0].plot(bounds[~covered], errors[~covered], "x", color=VERMILION, markersize=4.5, label="not covered")
    axes[0].set(
        title="a  Held-out frames, last round", xlabel="calibrated bound (meV/Å)", ylabel="force error (meV/Å)",
        xlim=(0, top), ylim=(0, top),
    )  # fmt: skip
    axes[0].legend(loc="upper left")
    _coverage(axes[1], record.rounds, float(calibration["confidence"]))
    return figure


def _coverage(axis: Axes, rounds: Sequence[dict[str, Any]], confidence: float) -> None:
    series = (
        ("coverage", "held out, leave one out", "o-", BLUE),
        ("fresh_coverage", "newly labelled, bounds made before", "s--", ORANGE),
        ("raw_coverage", "uncalibrated disagreement", "^:", GREY),
    )
    for key, label, style, colour in series:
        pairs = [(item["round"], 100 * item[key]) for item in rounds if item.get(key) is not None]
        if pairs:
            axis.plot(*zip(*pairs, strict=True), style, color=colour, markersize=4.5, label=label)
    axis.axhline(100 * confidence, color=VERMILION, linestyle="--", linewidth=0.9, label="promised")
    axis.set(title="b  Coverage of the bounds", xlabel="round", ylabel="coverage (%)", ylim=(0, 104))
    axis.set_xticks([item["round"] for item in rounds])
    axis.margins(x=0.12)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _with_threshold(record: CampaignRecord) -> list[Selection]:
    return [item for item in record.selections if item.disagreements]


def _selection(record: CampaignRecord) -> Figure:
    from matplotlib.ticker import MaxNLocator

    shown = _with_threshold(record)[-4:]
    figure, axes = _panels(len(shown), width=max(3.9, min(8.3, 2.8 * len(shown))), height=2.5)
    largest = max(max([*item.disagreements, item.threshold or 0.0]) for item in shown)
    bins = np.linspace(0, 1.05 * MEV * largest, 22).tolist()
    for axis, item in zip(axes, shown, strict=True):
        axis.hist(MEV * np.array(item.disagreements), bins, color=SKY, label="sampled")
        axis.hist(MEV * np.array(item.flagged), bins, color=BLUE, label="flagged")
        if item.threshold is not None:
            axis.axvline(MEV * item.threshold, color=VERMILION, linestyle="--", linewidth=1.0, label="threshold")
        axis.set(title=f"Round {item.round}", xlabel="force disagreement (meV/Å)")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("frames")
    axes[-1].legend()
    return figure


def _landscape(record: CampaignRecord) -> Figure:
    """The plane round after round: what all rounds sampled, what this one did, and what was labelled so far."""
    assert record.landscape is not None
    shown = record.selections[-4:]
    figure, axes = _panels(len(shown), width=max(3.9, min(8.3, 2.8 * len(shown))), height=2.7)
    everything = np.array([place for item in record.selections for place in item.places])
    for axis, item in zip(axes, shown, strict=True):
        before = [place for other in record.selections if other.round < item.round for place in other.labelled_places]
        layers: list[tuple[Any, dict[str, Any], str]] = [
            (everything, {"marker": ".", "color": "#d0d0d0", "markersize": 3}, "other rounds"),
            (item.places, {"marker": ".", "color": SKY, "markersize": 5}, "sampled"),
            (before, {"marker": "o", "color": GREY, "markersize": 3, "fillstyle": "none"}, "labelled before"),
            (item.labelled_places, {"marker": "o", "color": BLUE, "markersize": 4}, "labelled"),
        ]
        for places, style, label in layers:
            if len(places):
                axis.plot(*np.array(places).T, linestyle="none", markeredgewidth=0.7, label=label, **style)
        axis.set(title=f"Round {item.round}", xlabel=f"axis 1 ({record.landscape[0]:.0%} of the variance)")
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(f"axis 2 ({record.landscape[1]:.0%})")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, markerscale=1.5)
    return figure


def _cost(record: CampaignRecord) -> Figure:
    rounds = sorted({item.round for item in record.costs})
    figure, axes = _panels(1, height=0.75 + 0.32 * len(rounds))
    left = dict.fromkeys(rounds, 0.0)
    for step, colour in STEP_COLOURS.items():
        values = [
            sum(item.core_seconds for item in record.costs if (item.round, item.step) == (r, step)) for r in rounds
        ]
        if any(values):
            axes[0].barh(range(len(rounds)), values, left=list(left.values()), color=colour, label=step, height=0.62)
        for number, value in zip(rounds, values, strict=True):
            left[number] += value
    axes[0].set(xlabel="core seconds")
    axes[0].set_yticks(range(len(rounds)), [f"round {number}" for number in rounds])
    axes[0].invert_yaxis()
    axes[0].legend(ncols=5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure
