"""A committee as one safetensors file: tensors, and JSON under the one metadata key ``hqe``; no code is ever stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.writing import replacing

if TYPE_CHECKING:
    from aiida_hqe.potentials.committee import Committee

KEY = "hqe"
FORMAT = 3
"""Since 2, weights of a difference include those of charges, and settings name the smoothing; since 3, ``short_range``."""

_UNSAID = {"smoothing": 1e-8, "short_range": False}
"""What the settings of earlier formats do not name."""

_LAST_ELEMENT = 118
UNITS = {"energy": "eV", "length": "angstrom", "charge": "e"}


def write(path: Path, committee: Committee) -> None:
    """Write `committee`, whole or not at all; raises as `aiida_hqe.writing.replacing`."""
    tensors = {
        f"member.{member.number}.{level}.{name}": tensor.detach().cpu().contiguous()
        for member in committee.members
        for level, network in member.networks.items()
        for name, tensor in network.state.items()
    }
    document = _document(committee)
    document["checksum"] = checksum(document, tensors)
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {KEY: json.dumps(document, sort_keys=True)}))


def read(path: Path) -> dict[str, Any]:
    """Arguments of `Committee` from a file; raises what `Committee.load` does."""
    if not path.is_file():
        raise InputError(f"{path}: a committee file was expected (got none): check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise IntegrityError(f"{path}: a whole safetensors file was expected (got {error}): restore it") from error
    try:
        document = json.loads(metadata[KEY])
        expected = document.pop("checksum")
        if document["format"] not in range(1, FORMAT + 1):
            raise InputError(
                f"{path}: committee format 1 to {FORMAT} was expected (got {document['format']}): update aiida-hqe"
            )
        if checksum(document, tensors) != expected:
            raise IntegrityError(f"{path}: the checksum does not fit its content: restore the file from its source")
        _check(path, document)
        return _arguments(document, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError) as error:
        raise IntegrityError(
            f"{path}: a committee file was expected (got {error!r}): restore it from its source"
        ) from error


def _check(path: Path, document: dict[str, Any]) -> None:
    """Raise `InputError` for a whole file that means something else: other units, elements that are none or lack energies."""
    if document["units"] != UNITS:
        raise InputError(f"{path}: a committee in {UNITS} was expected (got {document['units']}): convert it")
    elements = document["elements"]
    if not elements or not all(isinstance(z, int) and 1 <= z <= _LAST_ELEMENT for z in elements):
        raise InputError(
            f"{path}: elements between 1 and {_LAST_ELEMENT} were expected (got {elements}): train it anew"
        )
    for number, member in document["members"].items():
        for level, network in member["networks"].items():
            lacking = sorted(set(elements) - {int(z) for z in network["references"]})
            if lacking:
                raise InputError(
                    f"{path}: energies of reference of all elements {elements} were expected (member {number} lacks {lacking}"
                    f" at the {level} level): train it anew"
                )


def checksum(document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the JSON document (without a checksum) and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _document(committee: Committee) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "units": UNITS,
        "settings": committee.settings.model_dump(mode="json"),
        "learn": committee.learn,
        "levels": sorted(committee.levels),
        "force_level": committee.force_level,
        "elements": committee.elements,
        "charge": committee.charge,
        "spin": committee.spin,
        "ranges": committee.ranges,
        "calibration": committee.calibration,
        "members": {str(member.number): _describe(member) for member in committee.members},
    }


def _describe(member: Member) -> dict[str, Any]:
    networks = {
        level: {
            "references": {str(z): value for z, value in network.references.items()},
            "has_forces": network.has_forces,
        }
        for level, network in member.networks.items()
    }
    return {"seed": member.seed, "networks": networks, "summary": dict(member.summary)}


def _arguments(document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    settings = PotentialSettings.model_validate(_UNSAID | document["settings"])
    network = {name: tensor.shape for name, tensor in build(settings, document["charge"], seed=0).state_dict().items()}
    members = [
        _member(int(number), entry, tensors, network, settings.n_descriptors)
        for number, entry in document["members"].items()
    ]
    names = ("learn", "elements", "charge", "spin", "ranges", "calibration")
    return {"members": members, "settings": settings} | {name: document[name] for name in names}


def _member(
    number: int, entry: dict[str, Any], tensors: dict[str, torch.Tensor], network: Mapping[str, torch.Size], size: int
) -> Member:
    """Member of this number: each level a network of such shapes, or a difference, its weights brought to `size`."""
    networks = {}
    for level, description in entry["networks"].items():
        prefix = f"member.{number}.{level}."
        state = {name.removeprefix(prefix): tensors[name] for name in sorted(tensors) if name.startswith(prefix)}
        if "weight" in state:
            state["weight"] = _lengthened(state["weight"], size)
        _check_tensors(prefix, state, {"weight": torch.Size([size])} if "weight" in state else network)
        references = {int(element): value for element, value in description["references"].items()}
        networks[level] = Network(state, references, description["has_forces"])
    return Member(number, entry["seed"], networks, entry["summary"])


def _check_tensors(prefix: str, state: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Raise `ValueError` unless there is each of these tensors and no other, of its shape, and all numbers are finite."""
    found = {name: tensor.shape for name, tensor in state.items()}
    odd = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
    odd += sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all())
    if odd:
        raise ValueError(f"no such network: {prefix}{odd[0]} is missing, of another shape or not finite")


def _lengthened(weight: torch.Tensor, size: int) -> torch.Tensor:
    """Weights of a difference with zeros behind them."""
    if len(weight) > size:
        raise ValueError(f"{len(weight)} weights of a difference where {size} were expected")
    return torch.cat([weight, weight.new_zeros(size - len(weight))])
