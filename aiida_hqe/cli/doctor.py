"""``aiida-hqe doctor``: what this machine has, what is missing, and the command that repairs it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import click

from aiida_hqe.cli import polling, profile, services, slots
from aiida_hqe.cli.campaigns import json_option, print_json
from aiida_hqe.cli.services import Finding
from aiida_hqe.errors import InputError

OPTIONAL = {
    "pyscf-forge": ("pyscf.lno", "LNO-CCSD(T) of quantum cores", "pip install 'aiida-hqe[lno]'"),
    "dftd3": ("dftd3", "D3(BJ) dispersion", "pip install 'aiida-hqe[dispersion]'"),
    "dftd4": ("dftd4", "D4 dispersion", "pip install 'aiida-hqe[dispersion]'"),
    "xtb": ("xtb", "GFN-xTB baselines (Python 3.11)", "pip install 'aiida-hqe[xtb]'"),
    "core-optimizer": ("core_optimizer", "training by CoRe", "pip install 'aiida-hqe[core]'"),
    "openmmml": ("openmmml", "committees in OpenMM-ML", "pip install 'aiida-hqe[openmm-ml]'"),
}
"""Optional parts: module, what it is for, how to get it."""


@click.command()
@click.option("-p", "--profile", metavar="PROFILE", help="AiiDA profile; the default one if not given.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, profile: str | None, as_json: bool) -> None:
    """Check profile, services, computers, codes and optional parts; exit code 1 where something needed is missing."""
    findings = [*examine(profile), *optional_parts()]
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for line in _lines(findings):
            click.echo(line)
    ctx.exit(1 if any(finding.state == "missing" for finding in findings) else 0)


def _lines(findings: list[Finding]) -> Iterator[str]:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"{finding.state:8}  {finding.name:{width}}  {finding.message}"
        if finding.repair:
            yield f"{'':8}  {'':{width}}  -> {finding.repair}"


def examine(name: str | None) -> Iterator[Finding]:
    """Profile, and what hangs on it: storage, broker, daemon, computer, code, caching."""
    if name is None and not configuration().is_file():
        yield Finding("profile", "missing", f"there is no AiiDA configuration {configuration()}", "verdi presto")
        return
    try:
        profile.load(name)
    except InputError as error:
        yield Finding("profile", "missing", str(error), "verdi presto" if "`verdi presto`" in str(error) else None)
        return
    from aiida.manage import get_manager

    loaded = get_manager().get_profile()
    assert loaded is not None
    yield Finding("profile", "ok", f"{loaded.name} in {configuration().parent}")
    findings = list(services.examine(loaded))
    yield from findings
    missing = {finding.name for finding in findings if finding.state == "missing"}
    if "storage" not in missing:
        yield from polling.examine()
    if missing.isdisjoint({"storage", "broker", "daemon"}):
        yield from slots.examine()
    yield _caching(loaded.name)


def configuration() -> Path:
    """The configuration file of AiiDA, found without importing AiiDA (which would make its folder)."""
    for part in os.environ.get("AIIDA_PATH", "~").split(os.pathsep):
        folder = Path(part).expanduser()
        folder = folder if folder.name == ".aiida" else folder / ".aiida"
        if folder.is_dir():
            break
    return folder / "config.json"


def _caching(name: str) -> Finding:
    from aiida.manage.configuration import get_config

    config = get_config()
    enabled = config.get_option("caching.enabled_for", scope=name) or []
    if config.get_option("caching.default_enabled", scope=name) or profile.CACHED in enabled:
        return Finding("caching", "ok", "results of equal jobs are reused")
    return Finding(
        "caching", "optional", "dynamics and training are computed again where a campaign is repeated",
        f"verdi config set -a caching.enabled_for '{profile.CACHED}'",
    )  # fmt: skip


def optional_parts() -> Iterator[Finding]:
    """Packages that some settings need."""
    for name, (module, purpose, repair) in OPTIONAL.items():
        if _importable(module):
            yield Finding(name, "ok", purpose)
        else:
            yield Finding(name, "optional", f"not installed; it is for {purpose}", repair)


def _importable(module: str) -> bool:
    """Whether a module is installed, without importing it or a heavy package above it."""
    parent, _, child = module.rpartition(".")
    if not parent:
        return importlib.util.find_spec(module) is not None
    found = importlib.util.find_spec(parent)
    places = (found.submodule_search_locations if found else None) or []
    return any((Path(place) / child).is_dir() or (Path(place) / f"{child}.py").is_file() for place in places)
