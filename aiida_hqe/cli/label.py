"""``aiida-hqe label``: label the frames of a file; what is finished survives an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_hqe.cli.limits import THREADS, whole_campaign
from aiida_hqe.errors import InputError

if TYPE_CHECKING:
    from aiida_hqe.embedding.level import Level
    from aiida_hqe.frames import Frame, Frames
    from aiida_hqe.labels import Label

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("frames", type=FILE)
@click.option(
    "--level", "level_file", type=FILE, required=True, help="Level file (YAML): environment, core, embedding."
)
@click.option("-o", "--output", type=FILE, help="Write the labelled frames (.xyz or .h5).")
@click.option("--json", "as_json", is_flag=True, help="Print each label as JSON.")
@click.option(
    "--threads",
    type=click.IntRange(min=1, max=THREADS),
    default=1,
    show_default=True,
    help="Threads, as `threads` of a campaign: equal numbers give equal energies to the last bits.",
)
@click.pass_context
def label(ctx: click.Context, frames: Path, level_file: Path, output: Path | None, as_json: bool, threads: int) -> None:
    """Label FRAMES (.xyz or .h5) at a level: environment energy and forces, and the energy of each quantum core.

    Numbers of core orbitals that the level leaves open are chosen once for all frames of a molecule, where a gap is clear in all.
    With -o, finished labels are also kept next to OUTPUT while the command runs: started again, it goes on where it was.
    Exit codes: 0 every frame is labelled, 2 a frame failed because of the input, 1 it failed otherwise.
    """
    from aiida_hqe.baseline.baseline import require
    from aiida_hqe.campaign import document
    from aiida_hqe.cli.journal import Journal, check_apart, check_output
    from aiida_hqe.embedding.level import Level
    from aiida_hqe.frames import Frames

    given = document.load(level_file)
    whole_campaign(given, "a level file", "environment, core and embedding, as in its section levels")
    level = document.validate(given, Level)
    require(level.baseline)
    check_output(output)
    check_apart(output, frames, "the one that is read")
    batch = Frames.read(frames)
    journal = Journal.beside(output, level)
    levels = _levels(batch, level, threads)
    journal.keep(levels)
    try:
        for position, frame in enumerate(batch, start=1):
            if frame.hash not in journal.labels:
                journal.add(_label(frame, levels[frame.hash], threads))
            found = journal.labels[frame.hash]
            click.echo(f"{position}/{len(batch)} {frame.hash[:12]} {found.status} {found.seconds:.1f} s", err=True)
    except KeyboardInterrupt:
        click.echo(f"interrupted: {len(journal.labels)} of {len(batch)} frames are finished", err=True)
        _finish(batch, journal.labels, output, as_json)
        ctx.exit(1)
    _finish(batch, journal.labels, output, as_json)
    journal.close()
    ctx.exit(_exit_code(list(journal.labels.values())))


def _levels(batch: Frames, level: Level, threads: int) -> dict[str, Level | InputError]:
    """The level of each frame, by its hash: where it leaves the core orbitals open they are chosen once for all frames."""
    from aiida_hqe.embedding.cores import fix_core_orbitals

    levels = fix_core_orbitals(batch, level, threads=threads)
    chosen = {
        str(found.embedding.core_orbitals): found for found in levels.values() if not isinstance(found, InputError)
    }
    for numbers, found in chosen.items():
        if found is not level:
            click.echo(
                f"core_orbitals: {numbers} chosen for all frames of one molecule; fix it in the level file", err=True
            )
    return levels


def _label(frame: Frame, level: Level | InputError, threads: int) -> Label:
    from aiida_hqe.embedding.label import failed
    from aiida_hqe.embedding.label import label as label_frame

    return failed(frame, level) if isinstance(level, InputError) else label_frame(frame, level, threads=threads)


def _finish(batch: Frames, labels: dict[str, Label], output: Path | None, as_json: bool) -> None:
    """Print the labels of the finished frames, in order, and write those frames."""
    finished = [frame for frame in batch if frame.hash in labels]
    found = [labels[frame.hash] for frame in finished]
    if output is not None:
        labelled = [one.apply(frame) for frame, one in zip(finished, found, strict=True) if one.status == "ok"]
        if labelled:
            type(batch)(labelled).write(output)
    if as_json:
        click.echo("[" + ",\n".join(one.model_dump_json() for one in found) + "]")
    else:
        for one in found:
            click.echo(_line(one))
    for one in found:
        if one.status == "failed":
            click.echo(one.message, err=True)


def _line(found: Label) -> str:
    if found.status == "failed":
        return f"{found.frame[:12]}  failed"
    target = "" if found.energy is None else f"  energy {found.energy:.8f} eV"
    return f"{found.frame[:12]}  environment {found.environment_energy:.8f} eV{target}  {found.seconds:.1f} s"


def _exit_code(labels: list[Label]) -> int:
    failed = [one for one in labels if one.status == "failed"]
    if not failed:
        return 0
    return InputError.exit_code if any(one.error_kind == "input" for one in failed) else 1
