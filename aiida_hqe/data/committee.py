"""`CommitteeData`: a committee of potentials as one safetensors file of one node."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aiida.orm import SinglefileData

from aiida_hqe.errors import IntegrityError

if TYPE_CHECKING:
    from aiida_hqe.potentials.committee import Committee

KEY = "hqe"
"""The metadata key of a committee file under which its JSON lies."""

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # the limit of the safetensors format


class CommitteeData(SinglefileData):
    """A committee: tensors and JSON, never a pickle. What it is for can be read without loading a network.

    Attributes: `n_members`, `members` (their numbers), `elements`, `levels`, `force_level`, `learn` and `checksum`.
    """

    FILENAME = "committee.safetensors"

    @classmethod
    def from_file(cls, path: str | Path) -> CommitteeData:
        """An unstored node of a committee file.

        Raises
        ------
        IntegrityError
            The file is truncated or no committee.
        """
        path = Path(path).absolute()
        if not path.is_file():
            raise IntegrityError(f"{path}: a committee file was expected (got none): train one, or correct the path")
        summary = _summary(path)
        node = cls(path, filename=cls.FILENAME)
        node.base.attributes.set_many(summary)
        return node

    @classmethod
    def merge(cls, parts: Sequence[CommitteeData]) -> CommitteeData:
        """An unstored node of one committee with the members of several, made without torch.

        Raises
        ------
        InputError
            The parts differ in architecture, levels, elements, charge or spin, or share a member number.
        """
        from aiida_hqe.data.merging import merge_files

        with tempfile.TemporaryDirectory() as directory:
            paths = [Path(directory) / f"{number}.safetensors" for number in range(len(parts))]
            for path, part in zip(paths, parts, strict=True):
                path.write_bytes(part.content)
            merge_files(paths, Path(directory) / cls.FILENAME)
            return cls.from_file(Path(directory) / cls.FILENAME)

    def committee(self) -> Committee:
        """The networks themselves; this loads torch.

        Raises
        ------
        IntegrityError
            The file in the repository is damaged.
        """
        from aiida_hqe.potentials.committee import Committee

        with self.as_path() as path:
            return Committee.load(path)

    def header(self) -> dict[str, Any]:
        """The JSON that travels with the tensors: settings, elements, levels, members, training ranges, checksum."""
        with self.as_path() as path:
            return read_header(path)

    @property
    def n_members(self) -> int:
        """Number of members."""
        return self.base.attributes.get("n_members")

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that the committee knows, ascending."""
        return self.base.attributes.get("elements")

    @property
    def levels(self) -> list[str]:
        """Levels that every member learned, of ``environment`` and ``target``."""
        return self.base.attributes.get("levels")


def read_header(path: Path) -> dict[str, Any]:
    """JSON document of a committee file, read without torch: 8 bytes of length, then the safetensors header.

    Raises
    ------
    IntegrityError
        The file is truncated or no committee.
    """
    size = os.path.getsize(path)
    with path.open("rb") as stream:
        header = _header(stream, size)
    try:
        document = json.loads(header["__metadata__"][KEY])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        length = int(max(ends, default=0))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise _no_committee(path, repr(error)) from error
    if not isinstance(document, dict):
        raise _no_committee(path, type(document).__name__)
    if size != _LENGTH_BYTES + header_length(path) + length:
        raise _no_committee(path, f"{size} bytes, which is not the length that its header states")
    return document


def header_length(path: Path) -> int:
    """Length (bytes) of the safetensors header of a file."""
    with path.open("rb") as stream:
        return int.from_bytes(stream.read(_LENGTH_BYTES), "little")


def _header(stream: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if not 0 < length <= min(size - _LENGTH_BYTES, _LONGEST_HEADER):
        raise _no_committee(Path(stream.name), f"a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(stream.read(length))
    except ValueError as error:
        raise _no_committee(Path(stream.name), f"a header that is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise _no_committee(Path(stream.name), "a header that is no mapping")
    return header


def _summary(path: Path) -> dict[str, Any]:
    document = read_header(path)
    try:
        members = sorted(int(number) for number in document["members"])
        return {
            "n_members": len(members),
            "members": members,
            "elements": [int(element) for element in document["elements"]],
            "levels": [str(level) for level in document["levels"]],
            "force_level": str(document["force_level"]),
            "learn": str(document["learn"]),
            "checksum": str(document["checksum"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _no_committee(path, repr(error)) from error


def _no_committee(path: Path, found: str) -> IntegrityError:
    return IntegrityError(f"{path.name}: a whole committee file was expected (got {found}): restore it from its source")
