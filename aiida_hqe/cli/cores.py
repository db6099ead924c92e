"""``aiida-hqe cores``: which atoms change between frames, and how many orbitals a core of them has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_hqe.cli.limits import THREADS, whole_campaign
from aiida_hqe.errors import InputError

if TYPE_CHECKING:
    from aiida_hqe.embedding.proposal import Core, Proposal

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("frames", type=FILE)
@click.option(
    "--level", "level_file", type=FILE, help="Level file (YAML): its environment, and the partition of its cores."
)
@click.option("--kinetic", default="0.05 Eh", show_default=True, help="Threshold of an orbital's kinetic energy.")
@click.option(
    "--location",
    type=click.FloatRange(min=0, min_open=True, max=2),
    default=0.05,
    show_default=True,
    help="Threshold of its populations, a fraction of the orbital.",
)
@click.option("-o", "--output", type=FILE, help="Write a page (.html) or a picture (.png) of what was chosen.")
@click.option("--mark", type=FILE, help="Write the frames with the proposed cores marked (.xyz or .h5).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--threads",
    type=click.IntRange(min=1, max=THREADS),
    default=1,
    show_default=True,
    help="Threads of the calculations.",
)
def cores(
    frames: Path,
    level_file: Path | None,
    kinetic: str,
    location: float,
    output: Path | None,
    mark: Path | None,
    as_json: bool,
    threads: int,
) -> None:
    """Propose quantum cores for FRAMES (.xyz or .h5), configurations of one molecule: the atoms of what changes.

    Localized orbitals of all frames are compared; where the kinetic energy or the place of one changes by more than a
    threshold, its atoms belong to a core. For these cores, and for those that the frames mark, the singular-value gap of each
    possible number of orbitals over all frames gives `core_orbitals`, or says that none is clear.
    """
    from aiida_hqe.campaign import document
    from aiida_hqe.cli.journal import check_apart, check_output
    from aiida_hqe.cli.progress import Bar
    from aiida_hqe.embedding.level import Level
    from aiida_hqe.frames import Frames

    threshold = _energy(kinetic)
    if math.isnan(location):
        raise InputError("--location: a number above zero was expected (got nan): give one such as 0.05", "location")
    level = Level()
    if level_file is not None:
        found_level = document.load(level_file)
        whole_campaign(found_level, "a level file", "environment, core and embedding, as in its section levels")
        level = document.validate(found_level, Level)
    check_output(output, (".html", ".png"))
    check_output(mark)
    check_apart(mark, frames, "the one that is read")
    batch = Frames.read(frames)
    from aiida_hqe.embedding.proposal import propose

    with Bar(f"{len(batch)} frames") as bar:
        found = propose(batch, level, kinetic=threshold, location=location, threads=threads, progress=bar.reach)
    if output is not None:
        from aiida_hqe.report import cores as picture

        picture.write(output, found, batch[0])
    if mark is not None:
        found.mark(batch).write(mark)
    click.echo(found.model_dump_json(indent=1) if as_json else "\n".join(_lines(found)))


def _energy(text: str) -> float:
    """The threshold in eV."""
    from aiida_hqe.units import parse_quantity

    try:
        value = parse_quantity(text, "energy")
    except ValueError as error:
        raise InputError(f"--kinetic: {error}: give one such as '0.05 Eh'", "kinetic") from error
    if value <= 0:
        raise InputError(
            f"--kinetic: an energy above zero was expected (got {text!r}): give one such as '0.05 Eh'", "kinetic"
        )
    return value


def _lines(found: Proposal) -> list[str]:
    """What is printed: the orbitals, the cores and what to write into a level file."""
    from aiida_hqe.cli.campaigns import table

    changing = sum(orbital.selected for orbital in found.orbitals)
    shown = found.orbitals[: max(changing + 3, 8)]
    rows = [
        [
            orbital.name + (f", {orbital.spin}" if orbital.spin else ""),
            f"{orbital.kinetic:.4f}",
            f"{orbital.location:.4f}",
            f"{orbital.score:.2f}",
            "core" if orbital.selected else "",
        ]
        for orbital in shown
    ]
    lines = table(["orbital", "kinetic energy, eV", "location", "over threshold", ""], rows)
    if len(shown) < len(found.orbitals):
        lines.append(f"and {len(found.orbitals) - len(shown)} that change less")
    lines += ["", _verdict(found, changing), *(f"core {_core(core, found)}" for core in found.cores)]
    if found.core_orbitals is not None:
        lines.append(f"for the level file: core_orbitals: {found.core_orbitals}")
    if found.marked:
        lines += ["", "cores that the frames mark:", *(f"core {_core(core, found)}" for core in found.marked)]
    if found.alternatives:
        lines += ["", "at other thresholds (kinetic energy, location):"]
    for other in found.alternatives:
        sets = "; ".join(_atoms(atoms, found) for atoms in other.cores)
        lines.append(f"{other.kinetic_threshold:.3g} eV, {other.location_threshold:.3g}: {sets}")
    return lines


def _verdict(found: Proposal, changing: int) -> str:
    limits = f"{found.kinetic_threshold:.3g} eV in kinetic energy or {found.location_threshold:.3g} in location"
    head = (
        f"{changing} of {len(found.orbitals)} orbitals change between {len(found.frames)} frames by more than {limits}"
    )
    if found.alike:
        return f"{head}: no core. The frames are alike: add configurations that differ where it matters"
    if not found.cores:
        return f"{head}: no core. Lower the thresholds, or add frames that differ where it matters"
    return f"{head}: {len(found.cores)} core{'s' if len(found.cores) > 1 else ''} (atoms numbered from 0 among the QM atoms)"


def _core(core: Core, found: Proposal) -> str:
    choice = core.choice
    if choice.orbitals is None:
        return f"{core.core}: atoms {_atoms(core.atoms, found)}: no number of orbitals: {choice.reason}"
    gap = (
        "the whole region"
        if choice.gap is None
        else f"smallest gap {choice.gap:.3f}, drift {choice.drift:.2f} electrons"
    )
    return f"{core.core}: atoms {_atoms(core.atoms, found)}: {choice.orbitals} orbitals ({gap})"


def _atoms(atoms: list[int], found: Proposal) -> str:
    return " ".join(f"{found.symbols[atom]}{atom}" for atom in atoms)
