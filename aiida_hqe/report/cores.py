"""The picture of proposed cores: which orbitals change, where they are, and where each core can be cut."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aiida_hqe.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, STYLE, VERMILION, svg
from aiida_hqe.report.page import read_asset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aiida_hqe.embedding.proposal import Core, OrbitalChange, Proposal
    from aiida_hqe.frames import Floats, Frame

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
"""Colours of cores 1, 2, ..., repeated."""

NAMED = 8
"""So many of the orbitals that change most are named in the picture."""

TILT = 0.3
"""Angle (rad) between the drawing and the plane in which the atoms spread most."""

FAINTEST = 1e-4
"""Changes below this (eV, and fraction of an orbital) are drawn here on the logarithmic axes."""


def render(proposal: Proposal, frame: Frame) -> str:
    """HTML of one self-contained page: picture, orbitals, cores and alternatives.

    Parameters
    ----------
    frame
        The first of the frames that were compared; its atoms are drawn.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("cores.html").render(
        proposal=proposal, picture=svg("cores", partial(draw, proposal, frame)), style=read_asset("page.css")
    )


def picture(proposal: Proposal, frame: Frame) -> bytes:
    """The picture alone, as PNG."""
    import matplotlib as mpl

    style: Any = STYLE
    buffer = io.BytesIO()
    with mpl.rc_context(style):
        draw(proposal, frame).savefig(buffer, format="png", dpi=220, metadata={"Software": None})
    return buffer.getvalue()


def write(path: Path, proposal: Proposal, frame: Frame) -> None:
    """Write the page (``.html``) or the picture (``.png``).

    Raises
    ------
    InputError
        The file cannot be written.
    """
    from aiida_hqe.writing import replacing

    data = picture(proposal, frame) if path.suffix == ".png" else render(proposal, frame).encode()
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def draw(proposal: Proposal, frame: Frame) -> Figure:
    """Structure and changes above, the gaps of each core below."""
    from matplotlib.figure import Figure

    cut = _cut(proposal)
    rows = -(-len(cut) // 3)
    figure = Figure(figsize=(8.3, 3.6 + 2.4 * rows), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.6, 2.4 * rows]) if rows else None
    upper = figure if parts is None else parts[0, 0]
    left, right = upper.subplots(1, 2)
    _structure(left, proposal, frame)
    _changes(right, proposal)
    if parts is not None:
        panels = parts[1, 0].subplots(rows, min(len(cut), 3), squeeze=False).ravel()
        for number, (panel, (name, core)) in enumerate(zip(panels, cut, strict=False)):
            _gaps(panel, f"{chr(ord('c') + number)}  {name} {core.core}", core)
        for panel in panels[len(cut) :]:
            panel.set_axis_off()
    return figure


def _cut(proposal: Proposal) -> list[tuple[str, Core]]:
    """The cores that can be cut, with what they are called; marked ones that are proposed too are not repeated."""
    sets = [core.atoms for core in proposal.cores]
    named = [("Proposed core", core) for core in proposal.cores]
    named += [("Marked core", core) for core in proposal.marked if core.atoms not in sets]
    return [(name, core) for name, core in named if core.choice.gaps]


def _colour(number: int) -> str:
    return COLOURS[(number - 1) % len(COLOURS)]


def _structure(axis: Axes, proposal: Proposal, frame: Frame) -> None:
    """The first frame along the direction in which it is flattest; atoms of cores filled, nearer ones above."""
    places = _flattest(frame.positions)
    owner = {atom: core.core for core in proposal.cores for atom in core.atoms}
    for one, other in proposal.bonds:
        axis.plot(*places[[one, other], :2].T, color=GREY, linewidth=1.6, zorder=1)
    radius = 12.0 if len(places) < 30 else 7.0
    for order, atom in enumerate(np.argsort(places[:, 2])):
        x, y = places[atom, :2]
        inside = int(atom) in owner
        axis.plot(
            x, y, "o", markersize=radius * (1.0 if proposal.symbols[atom] == "H" else 1.45), zorder=2 + order / 1e3,
            color=_colour(owner[int(atom)]) if inside else "white", markeredgecolor="black" if inside else GREY,
            markeredgewidth=0.7,
        )  # fmt: skip
        axis.text(
            x, y, f"{proposal.symbols[atom]}{atom}", ha="center", va="center_baseline", fontsize=6.5 if radius > 8 else 4.2,
            color="white" if inside else "black", zorder=2.0005 + order / 1e3, clip_on=True,
        )  # fmt: skip
    for core in proposal.cores:
        axis.plot([], [], "o", color=_colour(core.core), label=f"core {core.core}")
    axis.set_aspect("equal", adjustable="datalim")
    axis.margins(0.14)
    axis.set_axis_off()
    axis.set_title(
        "a  First frame, and the proposed cores" if proposal.cores else "a  First frame; no core is proposed"
    )
    if len(proposal.cores) > 1:
        axis.legend(loc="lower right")


def _flattest(positions: Floats) -> Floats:
    """Positions on their principal axes, widest first, depth last, tilted a little so that few atoms hide others."""
    centred = positions - positions.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    c, s = np.cos(TILT), np.sin(TILT)
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ np.array(
        [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
    )
    return np.asarray(centred @ axes.T @ tilt.T)


def _changes(axis: Axes, proposal: Proposal) -> None:
    """Change of kinetic energy against change of location, with the thresholds."""
    axis.set(xscale="log", yscale="log")
    for selected, colour, label in ((False, GREY, "as it was"), (True, VERMILION, "changes")):
        points = [_point(orbital) for orbital in proposal.orbitals if orbital.selected == selected]
        if points:
            axis.plot(
                *np.array(points).T, "o", color=colour, markersize=4.5, alpha=0.75, markeredgewidth=0, label=label
            )
    line: dict[str, Any] = {"color": BLUE, "linestyle": "--", "linewidth": 0.9}
    axis.axvline(proposal.kinetic_threshold, label="thresholds", **line)
    axis.axhline(proposal.location_threshold, **line)
    for name, (x, y) in _names(proposal.orbitals):
        axis.annotate(
            name, (x, y), xytext=(-6, -2.5), textcoords="offset points", ha="right", fontsize=6.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
        )  # fmt: skip
    axis.set(
        title=f"b  Orbitals between {len(proposal.frames)} frames",
        xlabel="change of kinetic energy (eV)", ylabel="change of location (fraction)",
    )  # fmt: skip
    axis.margins(0.12)
    axis.legend(loc="lower right", frameon=True, facecolor="white", edgecolor="none", framealpha=0.9)


def _point(orbital: OrbitalChange) -> tuple[float, float]:
    return max(orbital.kinetic, FAINTEST), max(orbital.location, FAINTEST)


def _names(orbitals: list[OrbitalChange]) -> list[tuple[str, tuple[float, float]]]:
    """Names of the selected orbitals that change most; orbitals of one name that lie close together share it."""
    found: list[tuple[str, tuple[float, float]]] = []
    for orbital in [each for each in orbitals if each.selected][:NAMED]:
        point = _point(orbital)
        near = [np.abs(np.log10(np.divide(point, other))).max() < 0.3 for name, other in found if name == orbital.name]
        if not any(near):
            found.append((orbital.name, point))
    return found


def _gaps(axis: Axes, title: str, core: Core) -> None:
    """Smallest gap over the frames after each number of orbitals."""
    from matplotlib.ticker import MaxNLocator

    gaps = core.choice.gaps
    numbers = range(1, len(gaps) + 1)
    colours = [_colour(core.core) if number == core.choice.orbitals else "#c9c9c9" for number in numbers]
    axis.bar(numbers, gaps, color=colours, width=0.75)
    if core.choice.orbitals is None:
        axis.text(0.5, 0.97, "no clear gap", transform=axis.transAxes, ha="center", va="top", color=VERMILION)
    axis.set(title=title, xlabel="core orbitals", ylabel="smallest gap of the frames")
    axis.set_ylim(0, max(1.18 * max(gaps), 0.2))
    axis.set_xlim(0.3, len(gaps) + 0.7)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
