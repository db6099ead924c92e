"""The documents say what the code does: keys of the campaign file, commands, exit codes."""

from __future__ import annotations

import importlib.metadata
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from aiida_hqe import units
from aiida_hqe.campaign import protocols
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.cli.root import COMMANDS, main
from aiida_hqe.embedding.level import Level
from aiida_hqe.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
DIMENSIONS = {
    id(getattr(units, name).__metadata__[0]): name.lower()
    for name in ("Length", "Energy", "Force", "Time", "Temperature", "Rate", "Duration", "Pressure", "Concentration", "Memory")
}


def dimension(metadata: tuple[Any, ...] | list[Any]) -> str | None:
    """Name of the physical dimension that a validator of `aiida_hqe.units` stands for."""
    return next((DIMENSIONS[id(item)] for item in metadata if isinstance(item, BeforeValidator) and id(item) in DIMENSIONS), None)


def models_in(annotation: Any) -> list[type[Settings]]:
    """Settings models that an annotation accepts."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in models_in(argument)]


def value_of(annotation: Any, metadata: tuple[Any, ...] | list[Any] = ()) -> str:
    """What a field accepts, in the words of the document."""
    if (name := dimension(metadata)) is not None:
        return name
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return value_of(annotation.__origin__, annotation.__metadata__)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(value_of(option) for option in typing.get_args(annotation) if option is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{option}`" for option in typing.get_args(annotation))
    if origin is list:
        return f"list of {value_of(typing.get_args(annotation)[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "section"
    return {int: "integer", float: "number", bool: "true or false", str: "text"}[annotation]


def default_of(field: FieldInfo) -> str:
    """Default of a field, in the words of the document."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return "its defaults"
    if value in (None, []):
        return "none"
    name = dimension(field.metadata)
    if name is not None:
        return f"`{value:g} {units._INTERNAL[name]}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rows(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value and default of every entry below a model."""
    for name, field in model.model_fields.items():
        key = prefix + name
        yield key, value_of(field.annotation, field.metadata), default_of(field)
        for inner in models_in(field.annotation):
            yield from rows(inner, f"{key}.")


def documented(path: Path) -> dict[str, tuple[str, str]]:
    """Value and default of every key in the tables of a document."""
    lines = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| \S.* \|$", path.read_text().split("\n## Protocols")[0], flags=re.MULTILINE)
    return {key: (value, default) for key, value, default in lines}


@pytest.mark.parametrize("model", [Campaign, Level])
def test_every_key_of_a_document_is_described_with_its_unit_and_default(model: type[Settings]) -> None:
    written = documented(DOCS / "campaign-file.md")
    prefix = "levels." if model is Level else ""
    expected = {key: (value, default) for key, value, default in rows(model, prefix)}
    assert {key: written.get(key) for key in expected} == expected
    if model is Campaign:
        assert set(written) == set(expected)


@pytest.mark.parametrize("name", protocols.names())
def test_every_entry_of_a_protocol_is_listed(name: str) -> None:
    written = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*?) \|$", _section("## Protocols"), flags=re.MULTILINE)
    column = 1 + protocols.names().index(name)
    given = {row[0]: row[column] for row in written if row[column] != "-"}
    entries = protocols.resolve({"protocol": name})
    del entries["protocol"]
    assert given == dict(_leaves(entries))


def _leaves(entries: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value).lower() if isinstance(value, bool) else str(value)


def _section(heading: str) -> str:
    return (DOCS / "campaign-file.md").read_text().split(f"\n{heading}\n", 1)[1]


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and command of a group, by its name after ``aiida-hqe``."""
    for name in COMMANDS:
        command = main.get_command(click.Context(main, info_name="aiida-hqe"), name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())


def test_every_argument_and_option_of_every_command_is_described() -> None:
    sections = re.split(r"^###+ ", (DOCS / "cli.md").read_text(), flags=re.MULTILINE)
    missing = []
    for name, command in commands():
        section = next((part for part in sections if part.startswith(f"`{name}`")), "")
        for parameter in command.params:
            metavar = parameter.make_metavar(click.Context(command))
            for spelling in parameter.opts if parameter.param_type_name == "option" else [metavar]:
                if f"`{spelling}`" not in section and f"`{spelling} " not in section:
                    missing.append(f"{name} {spelling}")
    assert not missing


@pytest.mark.parametrize("group", ["aiida.calculations", "aiida.workflows"])
def test_every_exit_code_of_a_process_is_listed(group: str) -> None:
    written = set(re.findall(r"^\| (\d+) \| `(ERROR_\w+)` \|", (DOCS / "exit-codes.md").read_text(), flags=re.MULTILINE))
    for entry in importlib.metadata.entry_points(group=group):
        if entry.name.startswith("hqe."):
            codes = entry.load().spec().exit_codes.items()
            ours = {(str(code.status), label) for label, code in codes if code.status >= 200}
            assert ours <= written, entry.name
