"""Put committee files together without torch, so that the daemon need not load it: their tensors are copied as bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aiida_hqe.data.committee import KEY, read_header
from aiida_hqe.errors import InputError, IntegrityError

_ALIKE = ("format", "settings", "learn", "levels", "elements", "charge", "spin")

Arrays = dict[str, np.ndarray]


def merge_files(parts: Sequence[Path], target: Path) -> None:
    """Write one committee of the members of several files; byte for byte what `Committee.merge` would save.

    Raises
    ------
    InputError
        The parts differ in architecture, levels, elements, charge or spin, or share a member number.
    IntegrityError
        A file is damaged.
    """
    from safetensors.numpy import save

    documents, arrays = zip(*(_read(path) for path in parts), strict=True)
    document = _merged(documents)
    merged = {name: array for tensors in arrays for name, array in tensors.items()}
    document["checksum"] = _checksum(document, merged)
    target.write_bytes(save(merged, {KEY: json.dumps(document, sort_keys=True)}))


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    document = read_header(path)
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise IntegrityError(f"{path.name}: a whole safetensors file was expected (got {error}): restore it") from error
    expected = document.pop("checksum", None)
    if _checksum(document, arrays) != expected:
        raise IntegrityError(f"{path.name}: the checksum does not fit its content: restore the file from its source")
    return document, arrays


def _merged(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = documents[0]
    for other in documents[1:]:
        for name in _ALIKE:
            if first.get(name) != other.get(name):
                raise InputError(
                    f"committees to merge must agree in {name} (got {first.get(name)} and {other.get(name)}): train them alike"
                )
    members = {number: member for document in documents for number, member in document["members"].items()}
    if len(members) < sum(len(document["members"]) for document in documents):
        raise InputError(
            f"each member once was expected (got a number of {sorted(members)} twice): train each number once"
        )
    return first | {"members": members}


def _checksum(document: dict[str, Any], arrays: Arrays) -> str:
    """The checksum of `aiida_hqe.potentials.storage`, which names types as torch does."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} torch.{array.dtype} {list(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
