"""Write what the documents take from the code: keys and protocols of the campaign file, commands, exit codes.

Run by ``make docs``; a test compares. Meanings of keys are written by hand, in the last column of campaign-file.md, and kept.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from aiida_hqe import units
from aiida_hqe.campaign import protocols
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.cli.root import SECTIONS, main
from aiida_hqe.settings import Settings

DOCS = Path(__file__).resolve().parent
UNDESCRIBED = "**to be described**"
_QUANTITIES = (
    "Length", "Energy", "Force", "Time", "Temperature", "Rate", "Duration", "Pressure", "Concentration", "Memory",
)  # fmt: skip
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_DIMENSIONS = {id(getattr(units, name).__metadata__[0]): name.lower() for name in _QUANTITIES}


def documents() -> dict[Path, str]:
    """Text of every document that is generated, wholly or in part."""
    return {
        DOCS / "campaign-file.md": campaign_file((DOCS / "campaign-file.md").read_text()),
        DOCS / "cli.md": with_generated((DOCS / "cli.md").read_text(), commands()),
        DOCS / "exit-codes.md": with_generated((DOCS / "exit-codes.md").read_text(), exit_codes()),
    }


def with_generated(text: str, parts: Iterable[str]) -> str:
    """`text` up to its marker, and what is generated after it."""
    marker = "<!-- generated from here on -->\n"
    return text.split(marker)[0] + marker + "".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def campaign_file(text: str) -> str:
    """Tables of campaign-file.md: units, keys with value and default, protocols."""
    meanings = dict(
        re.findall(r"^\| `([\w.]+)` \| .*? \| .*? \| (.+) \|$", text.split("\n## Protocols")[0], flags=re.MULTILINE)
    )
    found = [(f"`{key}`", value, default, meanings.get(key, UNDESCRIBED)) for key, value, default in keys(Campaign)]
    head = ("key", "value", "default", "meaning")
    parts = [
        table(
            ("value", "units"),
            ((name, ", ".join(f"`{unit}`" for unit in known)) for name, known in units._UNITS.items()),
        )
    ]
    parts.append("\n## Keys\n\n### The campaign itself\n" + table(head, (row for row in found if "." not in row[0])))
    for section in Campaign.model_fields:
        inner = [row for row in found if row[0].startswith(f"`{section}.")]
        if inner:
            parts.append(f"\n### `{section}`\n" + table(head, inner))
    resolved = {name: dict(leaves(protocols.resolve({"protocol": name}))) for name in protocols.names()}
    listed = [
        key
        for key, _, _ in keys(Campaign)
        if key != "protocol" and any(key in entries for entries in resolved.values())
    ]
    rows = ((f"`{key}`", *(entries.get(key, "-") for entries in resolved.values())) for key in listed)
    parts.append(
        "\n## Protocols\n\nWhat a protocol fills in; `-` leaves the default of the schema.\n"
        + table(("key", *resolved), rows)
    )
    return with_generated(text, parts)


def keys(model: type[Settings], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, value and default of every entry below a model."""
    for name, field in model.model_fields.items():
        kind = value_of(field.annotation, field.metadata)
        yield prefix + name, kind + limits_of(field, kind), default_of(field)
        for inner in models_in(field.annotation):
            yield from keys(inner, f"{prefix}{name}.")


def leaves(entries: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and text of every entry of nested mappings."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value).lower() if isinstance(value, bool) else str(value)


def models_in(annotation: Any) -> list[type[Settings]]:
    """Settings models that an annotation accepts."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in models_in(argument)]


def value_of(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a field accepts, in words."""
    if (name := dimension_of(metadata)) is not None:
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


def limits_of(field: FieldInfo, kind: str) -> str:
    """Least and largest value of a field, in words and in the internal unit of its kind."""
    found = {name: f"{getattr(item, name):.10g}" for item in field.metadata for name in _LIMITS if hasattr(item, name)}
    if not found:
        return ""
    unit = f" {units._INTERNAL[kind]}" if kind in units._INTERNAL else ""
    if set(found) == {"ge", "le"}:
        return f", {found['ge']} to {found['le']}{unit}"
    return ", " + ", ".join(f"{words} {found[name]}" for name, words in _LIMITS.items() if name in found) + unit


def default_of(field: FieldInfo) -> str:
    """Default of a field, in words."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return "its defaults"
    if value in (None, []):
        return "none"
    name = dimension_of(field.metadata)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if name is None else f"`{value:g} {units._INTERNAL[name]}`"


def dimension_of(metadata: Iterable[Any]) -> str | None:
    """Physical dimension that a validator of `aiida_hqe.units` stands for."""
    return next(
        (_DIMENSIONS[id(item)] for item in metadata if isinstance(item, BeforeValidator) and id(item) in _DIMENSIONS),
        None,
    )


def commands() -> Iterator[str]:
    """A section for each command of ``aiida-hqe``."""
    for title, entries in SECTIONS.items():
        yield f"\n## {title}\n"
        for name in entries:
            command = main.get_command(click.Context(main, info_name="aiida-hqe"), name)
            assert command is not None
            yield describe(command, name, "###")
            if isinstance(command, click.Group):
                yield from (
                    describe(inner, f"{name} {part}", "####") for part, inner in sorted(command.commands.items())
                )


def describe(command: click.Command, name: str, level: str) -> str:
    """Usage, help and options of a command."""
    context = click.Context(command)
    arguments = [part.make_metavar(context) for part in command.params if isinstance(part, click.Argument)]
    options = [part for part in command.params if isinstance(part, click.Option)]
    usage = " ".join([name, "[OPTIONS]", *arguments, *(["COMMAND"] if isinstance(command, click.Group) else [])])
    help_text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or "").replace("\b", ""))
    text = f"\n{level} `{name}`\n\n`aiida-hqe {usage}`\n\n{help_text}\n"
    return text + table(("option", "meaning"), (_option(option, context) for option in options)) if options else text


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    metavar = "" if option.is_flag else f" {option.make_metavar(context)}"
    spellings = [f"`{spelling}`" for spelling in option.opts[:-1]] + [f"`{option.opts[-1]}{metavar}`"]
    default = option.get_default(context) if option.show_default else None
    notes = [" ".join((option.help or "").split()), "Required." if option.required else ""]
    notes.append("" if default in (None, False) else f"Default: `{default}`.")
    return ", ".join(spellings), " ".join(note for note in notes if note)


def exit_codes() -> Iterator[str]:
    """A table for each process of ours; codes below 200 are AiiDA's own."""
    for group, kind in (("aiida.calculations", "Calculation"), ("aiida.workflows", "Workchain")):
        for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name):
            if not entry.name.startswith("hqe."):
                continue
            codes = [(code, label) for label, code in entry.load().spec().exit_codes.items() if code.status >= 200]
            rows = (
                (str(code.status), f"`{label}`", code.message + (" *(not cached)*" if code.invalidates_cache else ""))
                for code, label in sorted(codes, key=lambda pair: pair[0].status)
            )
            yield f"\n### {kind} `{entry.name}`\n" + table(("code", "label", "message"), rows)


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
