"""No number of a campaign file may be so large that nothing physical, or no machine, is behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from annotated_types import Le, Lt

from aiida_hqe.campaign import document, protocols
from aiida_hqe.campaign.explain import branches
from aiida_hqe.campaign.schema import Campaign, Stop
from aiida_hqe.cli import limits
from aiida_hqe.errors import InputError
from aiida_hqe.settings import Settings
from aiida_hqe.training.settings import TrainingSettings

BY_THE_SYSTEM = {"system.charge", "system.solvate.box", "system.solvate.padding"}
"""Limited when the system is set up: by its electrons, and by the edge of the box that comes of it."""

LARGE = 2**31 - 1
"""The largest integer that is read."""


def numbers(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, type, Any]]:
    """Key, type and field of every number of a model, and of its sections."""
    for name, field in model.model_fields.items():
        for kind in branches(field.annotation):
            if kind in (int, float):
                yield prefix + name, kind, field
            if isinstance(kind, type) and issubclass(kind, Settings):
                yield from numbers(kind, f"{prefix}{name}.")


NUMBERS = {key: (kind, field) for key, kind, field in numbers(Campaign) if key not in BY_THE_SYSTEM}


def largest(model: type[Settings], name: str) -> float:
    (limit,) = (item.le for item in model.model_fields[name].metadata if isinstance(item, Le))
    return float(limit)


def document_with(key: str, value: Any) -> dict[str, Any]:
    """A campaign file with one entry, and what its section needs besides."""
    data: dict[str, Any] = {"system": {"topology": "a.pdb", "qm": {"atoms": [0]}, "charge": 0}}
    if key.startswith("sampling.bias."):
        data["sampling"] = {"bias": {"distances": [[0, 4]], "centre": "2 angstrom"}}
    if key == "levels.forces.density_fit":
        data["levels"] = {"forces": {"method": "mp2"}}
    section = data
    *path, name = key.split(".")
    for part in path:
        section = section.setdefault(part, {})
    section[name] = value
    return data


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_largest_value(key: str) -> None:
    assert any(isinstance(item, (Le, Lt)) for item in NUMBERS[key][1].metadata)


def refused(path: Path, key: str, value: Any) -> str:
    path.write_text(yaml.safe_dump(document_with(key, value)))
    with pytest.raises(InputError) as raised:
        document.read(path, Campaign, protocols.resolve)
    return str(raised.value)


@pytest.mark.parametrize("key", [key for key in NUMBERS if key != "seed"])  # as large as an integer that is read
def test_a_number_beyond_all_reason_is_one_line_that_says_how_large_it_may_be(key: str, tmp_path: Path) -> None:
    path, unit = tmp_path / "campaign.yaml", ""
    message = refused(path, key, LARGE if NUMBERS[key][0] is int else 1e300)
    if needed := re.search(r"such as '1( [^']+)'", message):
        unit = needed[1]
        message = refused(path, key, f"1e300{unit}")
    line, found, expected = message.removeprefix(f"{path}:").split(": ", 2)
    assert "\n" not in message
    assert found == key
    assert path.read_text().splitlines()[int(line) - 1].strip().startswith(f"{key.split('.')[-1]}:")
    assert re.match(rf"a value (at most|less than) [-+.0-9e]+{re.escape(unit)} was expected \(got ", expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("temperature: 300 K", "temperature: 1e300 K", "temperature: a value at most 10000 K was expected (got '1e300 K')"),
        ("members: 4", "members: 1000000000", "training.members: a value at most 100 was expected (got 1000000000)"),
        ("cutoff: 8.5 angstrom", "cutoff: 1e9 nm", "system.cutoff: a value at most 100 nm was expected (got '1e9 nm')"),
        ("interval: 20", "interval: 1\n  walkers: 101", "at most 100000 kept frames, walkers times steps by interval, was"),
        ("interval: 20", "interval: 20\n  pressure: -1e9 bar", "pressure: a value at least -10000 bar was expected"),
        ("interval: 20", "interval: 20\n  ewald_tolerance: 1e-30", "ewald_tolerance: a value at least 1e-08 was expected"),
        ("batch: 8", "target_energy_error: 1e9 eV", "selection.target_energy_error: a value at most 1000 eV was expected"),
    ],
)  # fmt: skip
def test_a_slip_of_unit_or_keyboard_is_told_in_the_unit_that_it_was_written_in(
    edited: Callable[[str, str], Path], old: str, new: str, expected: str
) -> None:
    with pytest.raises(InputError) as raised:
        document.read(edited(old, new), Campaign, protocols.resolve)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_limits_of_commands_are_those_of_a_campaign_file() -> None:
    assert largest(TrainingSettings, "members") == limits.MEMBERS
    assert largest(Stop, "iterations") == limits.ROUNDS
