"""``aiida-hqe export`` and ``import``: frames, committees and archives out of AiiDA and into it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_hqe.cli.campaigns import json_option, print_json
from aiida_hqe.errors import InputError
from aiida_hqe.writing import replacing, writing

if TYPE_CHECKING:
    from aiida.orm import Data, WorkChainNode

FRAME_SUFFIXES = {".xyz", ".extxyz", ".h5", ".hdf5"}
COMMITTEE_SUFFIX = ".safetensors"
ARCHIVE_SUFFIX = ".aiida"

SETS = ("labels", "training_set", "held_out")
"""Outputs of a campaign that hold frames."""


@click.group()
def export() -> None:
    """Write a campaign's frames, committee or whole provenance to a file."""


output_option = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
force_option = click.option("--force", is_flag=True, help="Overwrite the file.")


@export.command("frames")
@click.argument("campaign", metavar="PK|UUID")
@output_option
@click.option("--set", "chosen", type=click.Choice(SETS), default="labels", show_default=True, help="Which frames.")
@force_option
def export_frames(campaign: str, output: Path | None, chosen: str, force: bool) -> None:
    """Write labelled frames as extended XYZ or HDF5, as the suffix of the file says."""
    node = _campaign(campaign)
    target = _target(output or Path(f"{chosen}-{node.pk}.xyz"), FRAME_SUFFIXES, force)
    frames = _output(node, chosen).frames
    frames.write(target)
    click.echo(f"{target}: {len(frames)} frames")


@export.command("committee")
@click.argument("campaign", metavar="PK|UUID")
@output_option
@click.option(
    "--calibrated", is_flag=True, help="Put the campaign's calibration into it: predictions then have bounds."
)
@force_option
def export_committee(campaign: str, output: Path | None, calibrated: bool, force: bool) -> None:
    """Write the committee as one safetensors file, which `aiida-hqe predict` and `sample` read."""
    node = _campaign(campaign)
    target = _target(output or Path(f"committee-{node.pk}{COMMITTEE_SUFFIX}"), {COMMITTEE_SUFFIX}, force)
    committee = _output(node, "committee")
    if calibrated:
        calibration = _output(node, "calibration").get_dict()
        committee.committee().replace(calibration=calibration).save(target)
    else:
        with committee.as_path() as path, replacing(target) as temporary:
            shutil.copyfile(path, temporary)
    click.echo(f"{target}: {committee.n_members} members")


@export.command("archive")
@click.argument("campaign", metavar="PK|UUID")
@output_option
@force_option
def export_archive(campaign: str, output: Path | None, force: bool) -> None:
    """Write the campaign and all that it called and made as an AiiDA archive."""
    from aiida.tools.archive import create_archive

    node = _campaign(campaign)
    if not node.is_sealed:
        raise InputError(
            f"an ended campaign was expected (campaign {node.pk} runs): wait for it, or `aiida-hqe stop {node.pk}`"
        )
    target = _target(output or Path(f"campaign-{node.pk}{ARCHIVE_SUFFIX}"), {ARCHIVE_SUFFIX}, force)
    with writing(target):
        create_archive([node], filename=target, overwrite=force)
    click.echo(str(target))


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_(file: Path, as_json: bool) -> None:
    """Store frames (.xyz, .h5), a committee (.safetensors) or an archive (.aiida) in the profile, each checked whole."""
    if not file.is_file():
        raise InputError(f"{file}: a file was expected (got none): check the path")
    if file.suffix == ARCHIVE_SUFFIX:
        _import_archive(file)
        click.echo(f"imported {file}")
        return
    node = _data(file).store()
    if as_json:
        print_json(
            {"pk": node.pk, "uuid": node.uuid, "kind": node.entry_point.name if node.entry_point else node.node_type}
        )
    else:
        click.echo(f"{file} is node {node.pk} ({node.uuid})")


def _data(file: Path) -> Data:
    from aiida_hqe.data.committee import CommitteeData
    from aiida_hqe.data.frames import FramesData

    if file.suffix in FRAME_SUFFIXES:
        return FramesData.from_file(file)
    if file.suffix == COMMITTEE_SUFFIX:
        from aiida_hqe.potentials.committee import Committee

        Committee.load(file)  # checksum, units and elements, which its node takes on trust
        return CommitteeData.from_file(file)
    known = ", ".join([*sorted(FRAME_SUFFIXES), COMMITTEE_SUFFIX, ARCHIVE_SUFFIX])
    raise InputError(
        f"{file}: one of {known} was expected (got {file.suffix or 'no suffix'}): name the file by its format"
    )


def _import_archive(file: Path) -> None:
    from aiida.common.exceptions import AiidaException
    from aiida.tools.archive import import_archive

    from aiida_hqe.data.archive import DAMAGED, check_archive

    check_archive(file)
    try:
        import_archive(file)
    except (AiidaException, *DAMAGED) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{file}: an AiiDA archive was expected ({reason}): export it anew") from error


def _campaign(identifier: str) -> WorkChainNode:
    from aiida_hqe import queries

    return queries.campaign(identifier)


def _output(node: WorkChainNode, label: str) -> Any:
    """Output of a campaign; one that has not ended, or ended early, may lack it."""
    from aiida.common.exceptions import NotExistent

    try:
        return node.base.links.get_outgoing().get_node_by_label(label)
    except NotExistent as error:
        raise InputError(
            f"campaign {node.pk} has no {label} yet (it is {node.process_state.value}): see `aiida-hqe status {node.pk}`"
        ) from error


def _target(path: Path, suffixes: set[str], force: bool) -> Path:
    if path.suffix not in suffixes:
        raise InputError(f"{path}: a file name that ends in {' or '.join(sorted(suffixes))} was expected: rename it")
    if path.exists() and not force:
        raise InputError(f"{path}: a new file was expected (it exists): choose another, or overwrite it with --force")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: its folder does not exist: make it first")
    return path
