"""Say in one line what a settings model expected and what came, for every fault that pydantic found."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from aiida_hqe.units import in_unit_of

Key = tuple[str | int, ...]

_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}

_NAMES: dict[Any, str] = {
    int: "an integer", float: "a number", str: "a text", bool: "true or false", type(None): "nothing",
}  # fmt: skip


def explain(error: ValidationError, model: type[BaseModel], data: Any) -> list[tuple[Key, str]]:
    """Key and message of each faulty entry, in the order of the model; one per entry.

    Parameters
    ----------
    error
        What pydantic raised on validating `data`.
    model, data
        The model and the data; pydantic's locations also name branches of unions, which are no entries of the data.
    """
    groups: dict[Key, list[tuple[Key, Any]]] = {}
    for fault in error.errors(include_url=False):
        if fault["type"] == "located":
            key = union = tuple(fault["ctx"]["key"].split("."))
        else:
            key, union = _entry(fault["loc"], data, fault["type"] == "missing")
        groups.setdefault(union, []).append((key, fault))
    return [_fault(union, faults, model, data) for union, faults in groups.items()]


def _fault(union: Key, faults: list[tuple[Key, Any]], model: type[BaseModel], data: Any) -> tuple[Key, str]:
    """The one fault to report of an entry: of several from the branches of a union, the most telling."""
    key, fault = faults[0]
    if len(faults) == 1:
        return key, _message(fault, key, model, data)
    kind, value = annotation(model, union), lookup(data, union)
    if isinstance(value, dict):
        known = known_keys(kind)
        strange = next((name for name in value if name not in known), None)
        if strange is not None:
            return (*union, strange), unknown(strange, known)
        other = ("missing", "extra_forbidden")  # faults of branches that were not meant
        inner = [(key, fault) for key, fault in faults if len(key) > len(union) and fault["type"] not in other]
        if inner:
            return inner[0][0], _message(inner[0][1], inner[0][0], model, data)
    hint = similar(value, _literals(kind)) if isinstance(value, str) else ""
    return union, f"{describe(kind)} was expected (got {show(value)}){hint}"


def _entry(loc: Iterable[str | int], data: Any, missing: bool) -> tuple[Key, Key]:
    """Entry of the data that a location of pydantic means, and the first union on the way (else the entry again)."""
    parts, union = list(loc), None
    key: list[str | int] = []
    for position, part in enumerate(parts):
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if inside:
            key.append(part)
            data = data[part]
        elif missing and position == len(parts) - 1 and isinstance(data, dict):
            key.append(part)
        elif union is None:
            union = tuple(key)
    return tuple(key), tuple(key) if union is None else union


def _message(fault: Any, key: Key, model: type[BaseModel], data: Any) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    expected = describe(annotation(model, key))
    value = lookup(data, key)
    if kind == "located":
        return str(context["message"])
    if kind == "missing":
        return f"{expected} was expected (got nothing): add {key[-1]}"
    if kind == "extra_forbidden":
        return unknown(str(key[-1]), known_keys(annotation(model, key[:-1])))
    if kind == "value_error":
        text = str(context["error"])
        return text if "(got" in text else f"{text} was expected (got {_concerned(text, value)})"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"a value {words} {in_unit_of(context[name], value)} was expected (got {show(value)})"
    if kind in {"too_short", "too_long"}:
        name = "min_length" if kind == "too_short" else "max_length"
        return f"{'at least' if kind == 'too_short' else 'at most'} {context[name]} items were expected (got {show(value)})"
    if kind in {"string_too_short", "string_too_long"}:
        most = kind == "string_too_long"
        limit = context["max_length" if most else "min_length"]
        return f"at {'most' if most else 'least'} {limit} characters were expected (got {show(value)})"
    if kind == "literal_error":
        return f"{expected} was expected (got {show(value)}){similar(str(value), _literals(annotation(model, key)))}"
    return f"{expected or fault['msg']} was expected (got {show(value)})"


def _concerned(text: str, value: Any) -> str:
    """The entries of a mapping that a message speaks of; the whole value where it names none."""
    names = [name for name in value if isinstance(name, str) and name in text] if isinstance(value, dict) else []
    return ", ".join(f"{name} {show(value[name])}" for name in names) or show(value)


def unknown(name: str, known: Iterable[str]) -> str:
    """Message for a key that a mapping does not have."""
    known = list(known)
    if name.count(")") > name.count("("):
        return f"a known key was expected (got {name!r}): a text with a comma in it needs quotes, such as '6-31g(d,p)'"
    hint = similar(name, known)
    listed = hint or f": one of {', '.join(known)} was expected" if known else ""
    return f"a known key was expected (got {name!r}){listed}"


def similar(name: str, known: Iterable[str]) -> str:
    """``: did you mean x?`` where one of `known` resembles `name`, else nothing."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f": did you mean {matches[0]}?" if matches else ""


def annotation(model: Any, key: Key) -> Any:
    """Type that `model` gives the entry `key`; ``None`` where it has none."""
    kind: Any = model
    for part in key:
        if isinstance(part, int):
            kind = next((get_args(b)[0] for b in branches(kind) if get_origin(b) is list), None)
        else:
            fields = [b.model_fields[part] for b in branches(kind) if _is_model(b) and part in b.model_fields]
            kind = fields[0].annotation if fields else None
    return kind


def branches(kind: Any) -> tuple[Any, ...]:
    """Branches of a union, or the type itself."""
    if get_origin(kind) is Annotated:
        return branches(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(inner for branch in get_args(kind) for inner in branches(branch))
    return (kind,)


def known_keys(kind: Any) -> list[str]:
    """Keys of the mappings that a type allows."""
    return list(dict.fromkeys(name for b in branches(kind) if _is_model(b) for name in b.model_fields))


def describe(kind: Any) -> str:
    """A type in words; empty for ``None``."""
    words = [_describe(branch) for branch in branches(kind) if branch is not type(None)]
    return " or ".join(dict.fromkeys(word for word in words if word))


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return _listed([str(value) for value in get_args(kind)])
    if get_origin(kind) is list:
        return f"a list, each {describe(get_args(kind)[0])},"
    if _is_model(kind):
        return f"a mapping of {', '.join(kind.model_fields)}"
    return _NAMES.get(kind, "")


def _literals(kind: Any) -> list[str]:
    return [str(value) for b in branches(kind) if get_origin(b) is Literal for value in get_args(b)]


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def lookup(data: Any, key: Key) -> Any:
    """Value of the entry `key`; ``None`` where it is not there."""
    for part in key:
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
    return data


def show(value: Any) -> str:
    """A value as the user wrote it, shortened to one line."""
    text = (
        {None: "nothing", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    )
    text = " ".join((text or repr(value)).split())
    return text if len(text) <= 60 else text[:57] + "..."
