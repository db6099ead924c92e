"""Protocols ``fast``, ``balanced`` and ``stringent``: what a campaign file need not say."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

from aiida_hqe.campaign import document
from aiida_hqe.campaign.explain import show, similar
from aiida_hqe.errors import InputError

DEFAULT = "balanced"


def names() -> list[str]:
    """Names of the protocols, from quick to careful."""
    return list(_protocols())


def resolve(data: dict[str, Any]) -> dict[str, Any]:
    """Campaign data with the defaults of its protocol filled in; what `data` says wins.

    Parameters
    ----------
    data
        Top-level mapping of a campaign file; it is left as it is.

    Raises
    ------
    InputError
        There is no such protocol (key ``protocol``).
    """
    name = data.get("protocol", DEFAULT)
    known = _protocols()
    if not isinstance(name, str) or name not in known:
        hint = similar(str(name), known)
        raise InputError(f"one of {', '.join(known)} was expected (got {show(name)}){hint}", "protocol")
    return merge(known[name], data) | {"protocol": name}


def merge(defaults: Any, given: Any) -> Any:
    """`given`, with entries of mappings that only `defaults` has added at every depth."""
    if not isinstance(defaults, dict) or not isinstance(given, dict):
        return copy.deepcopy(given)
    merged = {
        key: merge(value, given[key]) if key in given else copy.deepcopy(value) for key, value in defaults.items()
    }
    return merged | {key: copy.deepcopy(value) for key, value in given.items() if key not in defaults}


@cache
def _protocols() -> dict[str, Any]:
    return document.load(Path(__file__).with_name("protocols.yaml")).data
