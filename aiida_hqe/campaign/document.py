"""Read a YAML document into a settings model; whatever is wrong with it is one `InputError` with file, line and key.

The accepted YAML is the part that settings need: mappings, sequences and the scalars of the YAML 1.2 core schema (so that
``1.0e6`` is a number and ``no`` a word). Aliases and tags are refused, and size and depth are limited, so that no document can
exhaust the machine.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from aiida_hqe.campaign.explain import explain
from aiida_hqe.errors import InputError
from aiida_hqe.settings import Settings

Key = tuple[str | int, ...]
Model = TypeVar("Model", bound=Settings)

MAX_BYTES = 1_000_000
MAX_DEPTH = 40

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.?(inf|Inf|INF)|\.?(nan|NaN|NAN)")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, tags and bottomless nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _problem(event, f"the alias *{event.anchor}: write its value")
        if getattr(event, "tag", None) is not None:
            raise _problem(event, f"the tag {event.tag}: remove it")
        if self.depth == MAX_DEPTH:
            raise _problem(event, f"more than {MAX_DEPTH} levels of nesting")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@dataclasses.dataclass(frozen=True)
class Document:
    """Data of a YAML file, and the line of each of its entries.

    Attributes
    ----------
    path
        The file, as the user named it.
    data
        Top-level mapping.
    lines
        Line (from 1) of each entry, by its path of keys and indices.
    """

    path: Path
    data: dict[str, Any]
    lines: dict[Key, int]

    def line(self, key: Key) -> int:
        """Line of an entry, or of the nearest entry that contains it; 1 where there is none."""
        return next((self.lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.lines), 1)

    def located(self, error: InputError) -> InputError:
        """The same error with ``file:line: key:`` in front, for an error whose key is an entry of this document."""
        if error.key is None:
            return InputError(f"{self.path}: {error}")
        return InputError(f"{self.path}:{self.line(as_key(error.key))}: {error.key}: {error}", error.key)


def as_key(dotted: str) -> Key:
    """Path of keys and indices from ``system.cores.0.atoms`` or ``system.cores[0].atoms``."""
    parts = re.findall(r"[^.\[\]]+", dotted)
    return tuple(int(part) if part.isdigit() else part for part in parts)


def locate(path: str | Path, key: str) -> int:
    """Line of the entry `key` in a YAML file, or of the nearest entry that contains it."""
    return load(path).line(as_key(key))


def read(
    path: str | Path, model: type[Model], resolve: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Model:
    """Validated settings from a YAML file.

    Parameters
    ----------
    path
        The file.
    model
        Settings model of its top-level mapping.
    resolve
        Completes the data before validation, such as `protocols.resolve`.

    Raises
    ------
    InputError
        The file cannot be read, or is wrong; one line ``file:line: key: what was expected (got ...)`` per fault.
    """
    return validate(load(path), model, resolve)


def validate(
    document: Document, model: type[Model], resolve: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Model:
    """Validated settings from a document; see :func:`read`."""
    try:
        data = resolve(document.data) if resolve else document.data
    except InputError as error:
        raise document.located(error) from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = sorted(explain(error, model, data), key=lambda fault: document.line(fault[0]))
        lines = [f"{document.path}:{document.line(key)}: {_dotted(key)}{message}" for key, message in faults]
        raise InputError("\n".join(lines), ".".join(map(str, faults[0][0]))) from error


def load(path: str | Path) -> Document:
    """Data and line numbers of a YAML file.

    Raises
    ------
    InputError
        The file is missing, too large, no UTF-8 text, no YAML, empty, or its top level is no mapping.
    """
    path = Path(path)
    text = _text(path)
    try:
        node = _Loader(text).get_single_node()
        lines: dict[Key, int] = {}
        data = _construct(node, (), lines) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(
            f"{path}:{mark.line + 1 if mark else 1}: YAML was expected (got {_in_words(error.problem)})"
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: YAML was expected (got {_one_line(error)})") from error
    if data is None:
        raise InputError(f"{path}: a mapping of settings was expected (got an empty file): start from a template")
    if not isinstance(data, dict):
        raise InputError(f"{path}:1: a mapping of settings, `key: value`, was expected (got a {_kind(data)})")
    return Document(path, data, lines)


def _text(path: Path) -> str:
    if not path.is_file():
        found = "a directory" if path.is_dir() else "no ordinary file" if path.exists() else "no such file"
        raise InputError(f"{path}: a YAML file was expected (got {found}): check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: a readable file was expected (got {error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: at most {MAX_BYTES} bytes of settings were expected (got {len(content)})")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: UTF-8 text was expected (got byte {content[error.start]:#04x})") from error


def _construct(node: Any, key: Key, lines: dict[Key, int]) -> Any:
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, lines)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*key, index), lines) for index, item in enumerate(node.value)]
    return _scalar(node) if node.style is None else node.value


def _mapping(node: yaml.MappingNode, key: Key, lines: dict[Key, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name_node, value_node in node.value:
        if not isinstance(name_node, yaml.ScalarNode):
            raise _problem(name_node, "a key that is no word")
        name = name_node.value
        if name in found:
            raise _problem(name_node, f"key {name!r} a second time: remove one of the two")
        lines[*key, name] = name_node.start_mark.line + 1
        found[name] = _construct(value_node, (*key, name), lines)
    return found


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text = node.value
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        if abs(int(text)) >= 2**31:
            raise _problem(node, f"{text}, which is beyond 2^31")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
        if not math.isfinite(number):
            raise _problem(node, f"{_one_line(text)}, which is no finite number")
        return number
    return text


def _problem(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _kind(data: Any) -> str:
    return {"str": "text", "int": "number", "float": "number", "bool": "truth value"}.get(type(data).__name__, "list")


def _in_words(problem: Any) -> str:
    """A problem that PyYAML found, as something that came instead of YAML; with a remedy for the commonest."""
    text = _one_line(problem).removeprefix("but ").removeprefix("found ")
    return f"{text}: indent with spaces" if "'\\t'" in text else text


def _dotted(key: Key) -> str:
    return _one_line(".".join(map(str, key))) + ": " if key else ""


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())[:200]
