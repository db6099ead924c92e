"""``aiida-hqe sample``: molecular dynamics of a system, driven by a committee, and its frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import Field

from aiida_hqe.cli.device import DEVICE
from aiida_hqe.cli.limits import SEED, a_committee, whole_campaign
from aiida_hqe.cli.progress import Bar
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.errors import InputError
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.settings import Settings
from aiida_hqe.units import parse_quantity

if TYPE_CHECKING:
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.qmmm.assembly import Assembly

FILE = click.Path(path_type=Path)


class SystemFile(Settings):
    """The file of ``sample``: the sections ``system`` and ``sampling`` of a campaign file, and a seed."""

    system: SystemSettings
    sampling: SamplingSettings = SamplingSettings()
    seed: int = Field(1, ge=0, lt=2**31)


@click.command()
@click.argument("system", type=FILE)
@click.argument("committee", type=FILE, required=False)
@click.option("-o", "--output", type=FILE, required=True, help="Where to write the sampled frames (.xyz or .h5).")
@click.option("--seed", type=click.IntRange(min=0, max=SEED), help="Seed, instead of the file's.")
@click.option("--trust", metavar="FORCE", help="Stop at this force disagreement, such as '1 eV/angstrom'.")
@click.option("--start", type=FILE, help="Go on from this assembly (.h5) instead of preparing the system.")
@click.option("--final", type=FILE, help="Write the assembly at the end (.h5), to go on from.")
@DEVICE
@click.pass_context
def sample(
    ctx: click.Context,
    system: Path,
    committee: Path | None,
    output: Path,
    seed: int | None,
    trust: str | None,
    start: Path | None,
    final: Path | None,
    device: str,
) -> None:
    """Prepare SYSTEM (a YAML file with the sections system and sampling) and sample it, the QM region driven by COMMITTEE.

    Without COMMITTEE the force field drives it all. Each frame carries step, temperature and the committee's disagreement.
    Exit code 1 if the run stopped early because the committee was not to be trusted; frames up to there are written.
    """
    from aiida_hqe.campaign import document
    from aiida_hqe.cli.journal import check_apart, check_output

    found = document.load(system)
    whole_campaign(found, "a system file", "its sections system and sampling, and a seed")
    settings = document.validate(found, SystemFile)
    check_output(output)
    check_output(final, (".h5",))
    check_apart(output, final, "that of --final")
    check_apart(output, start, "that of --start")
    limit = None if trust is None else _force(trust)
    driver = _load(committee, settings.sampling.precision, device)
    seed = settings.seed if seed is None else seed
    try:
        _check_steps(settings.sampling)
        assembly = _prepared(settings, system.parent, seed, driver) if start is None else _read(start, settings)
    except InputError as error:
        raise error if error.key is None else found.located(error) from error
    from aiida_hqe.dynamics.sample import sample as run

    sampling = settings.sampling
    with Bar("sampling") as bar:
        result = run(
            assembly,
            sampling,
            driver,
            seed=seed,
            steps=sampling.steps,
            interval=sampling.interval,
            trust_disagreement=limit,
            progress=bar.reach,
        )
    result.frames.write(output)
    if final is not None:
        result.assembly.write(final)
    click.echo(f"wrote {output}: {len(result.frames)} frames of {result.steps} steps")
    if not result.trusted:
        click.echo(f"stopped early: {result.reason}", err=True)
        ctx.exit(1)


def _read(start: Path, settings: SystemFile) -> Assembly:
    from aiida_hqe.qmmm.assembly import Assembly

    assembly = Assembly.read(start)
    _check_bias(settings, assembly)
    return assembly


def _prepared(settings: SystemFile, directory: Path, seed: int, driver: Committee | None) -> Assembly:
    """The assembly of a system, minimised and equilibrated."""
    from aiida_hqe.dynamics.prepare import prepare
    from aiida_hqe.qmmm.setup import build

    built = build(settings.system, directory)
    _check_bias(settings, built)
    if driver is not None:
        driver.check(built.frame())
    with Bar("preparing") as bar:
        return prepare(built, settings.sampling, seed, progress=bar.reach)


def _check_bias(settings: SystemFile, assembly: Assembly) -> None:
    if settings.sampling.bias is not None:
        settings.sampling.bias.check(assembly.n_atoms)


def _check_steps(sampling: SamplingSettings) -> None:
    if sampling.steps < sampling.interval:
        raise InputError(
            f"at least one interval, {sampling.interval}, was expected (got {sampling.steps}): otherwise no frame is kept",
            "sampling.steps",
        )


def _load(path: Path | None, precision: str, device: str) -> Committee | None:
    if path is None:
        return None
    from aiida_hqe.potentials.committee import Committee

    return Committee.load(a_committee(path)).replace(precision=precision, device=device)


def _force(text: str) -> float:
    try:
        value = parse_quantity(text, "force")
    except ValueError as error:
        raise InputError(f"--trust: {error}") from error
    if value <= 0:
        raise InputError(f"--trust: a force above zero was expected (got {text!r})")
    return value
