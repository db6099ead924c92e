"""``aiida-hqe train``: a calibrated committee from a file of labelled frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import Field

from aiida_hqe.cli.device import DEVICE
from aiida_hqe.cli.limits import MEMBERS, SEED
from aiida_hqe.cli.progress import Bar
from aiida_hqe.errors import InputError
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.settings import Settings
from aiida_hqe.training.settings import TrainingSettings

if TYPE_CHECKING:
    from aiida_hqe.frames import Frames
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.selection.calibration import Calibration

FILE = click.Path(path_type=Path)


class TrainFile(Settings):
    """The settings file of ``train``: sections as in a campaign file, and the confidence of the calibrated bounds."""

    potential: PotentialSettings = PotentialSettings()
    training: TrainingSettings = TrainingSettings()
    confidence: float = Field(0.9, gt=0.5, lt=1)


@click.command()
@click.argument("frames", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where to write the committee (.safetensors).")
@click.option("--settings", "settings_file", type=FILE, help="Settings file (YAML): potential, training, confidence.")
@click.option("--members", type=click.IntRange(min=2, max=MEMBERS), help="Size of the committee.  [default: 4]")
@click.option(
    "--seed", type=click.IntRange(min=0, max=SEED), default=1, show_default=True, help="Seed of weights and batches."
)
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def train(
    frames: Path, output: Path, settings_file: Path | None, members: int | None, seed: int, device: str, as_json: bool
) -> None:
    """Train a committee on the labelled FRAMES (.xyz or .h5), on whatever levels they hold.

    A part of the frames is held out and calibrates the committee: its disagreement becomes a bound of its error.
    """
    from aiida_hqe.campaign import document
    from aiida_hqe.cli.journal import check_output
    from aiida_hqe.frames import Frames
    from aiida_hqe.potentials.device import find

    settings = document.read(settings_file, TrainFile) if settings_file else TrainFile()
    if members is not None:
        settings = settings.model_copy(update={"training": settings.training.model_copy(update={"members": members})})
    check_output(output, (".safetensors",))
    find(device)
    batch = Frames.read(frames).unique()
    _check_labels(frames, batch)
    training_set, held_out = split(batch, settings)
    committee = train_committee(training_set, settings, seed, device)
    calibration = calibrate(committee, held_out, settings.confidence)
    if calibration is not None:
        committee = committee.replace(calibration=calibration.model_dump(mode="json"))
    committee.save(output)
    _report(output, committee, training_set, calibration, as_json)


def _check_labels(path: Path, frames: Frames) -> None:
    """See that the frames of a file can train a committee together."""
    from aiida_hqe.training.targets import levels_of

    try:
        levels_of(frames)
    except InputError as error:
        raise InputError(f"{path}: {error}", error.key) from error


def split(frames: Frames, settings: TrainFile) -> tuple[Frames, Frames]:
    """Training and held-out frames, divided by content hash; none is held out where too few would remain to train on.

    At least as many are held out as a calibration needs, and at most half of the frames.
    """
    from aiida_hqe.selection.calibration import frames_needed

    n = max(round(settings.training.held_out * len(frames)), frames_needed(settings.confidence))
    if 2 * n > len(frames):
        return frames, type(frames)()
    chosen = set(sorted(frames.hashes)[:n])
    parts = [[frame for frame in frames if (frame.hash in chosen) == held] for held in (False, True)]
    return type(frames)(parts[0]), type(frames)(parts[1])


def train_committee(frames: Frames, settings: TrainFile, seed: int, device: str = "cpu") -> Committee:
    """Every member, one after the other, with progress on standard error."""
    from aiida_hqe.baseline.baseline import with_baseline
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.training.train import train_member

    frames = with_baseline(frames, settings.potential.baseline)
    trained, members = [], settings.training.members
    with Bar(f"training {members} members") as bar:
        for member in range(members):

            def progress(epoch: int, epochs: int, member: int = member) -> None:
                bar.reach(member * epochs + epoch, members * epochs)

            one, _ = train_member(
                frames,
                settings.potential,
                settings.training,
                member=member,
                seed=seed,
                progress=progress,
                device=device,
            )
            trained.append(one)
    return Committee.merge(trained).replace(device=device)


def calibrate(committee: Committee, held_out: Frames, confidence: float) -> Calibration | None:
    """Calibration on the held-out frames; ``None``, said on standard error, where there are none or they have no forces."""
    from aiida_hqe.selection import calibration

    if not held_out:
        needed = calibration.frames_needed(confidence)
        click.echo(
            f"not calibrated: predictions will have no bound; {2 * needed} frames are enough for a confidence of"
            f" {confidence:g}, of which {needed} are held out",
            err=True,
        )
        return None
    if any(frame.environment_forces is None and frame.forces is None for frame in held_out):
        click.echo("not calibrated: predictions will have no bound; the labels have no forces", err=True)
        return None
    return calibration.calibrate(held_out, committee.predict_batch(held_out), confidence)


def _report(
    output: Path, committee: Committee, training_set: Frames, calibration: Calibration | None, as_json: bool
) -> None:
    fitted = {} if calibration is None else calibration.model_dump(mode="json")
    summary: dict[str, Any] = {
        "committee": str(output),
        "members": committee.n_members,
        "levels": sorted(committee.levels),
        "elements": committee.elements,
        "training_frames": len(training_set),
        "calibration": fitted or None,
    }
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    click.echo(
        f"wrote {output}: {committee.n_members} members, {' and '.join(summary['levels'])} level, trained on"
        f" {len(training_set)} frames"
    )
    if calibration is not None:
        energy = "" if calibration.energy_error is None else f", energy error {1000 * calibration.energy_error:.1f} meV"
        click.echo(
            f"{calibration.n_frames} held-out frames: force error {1000 * calibration.force_error:.1f} +-"
            f" {1000 * calibration.force_error_uncertainty:.1f} meV/angstrom ({calibration.level} level){energy};"
            f" {100 * calibration.coverage:.0f} % within bounds of confidence {100 * calibration.confidence:g} %"
        )
