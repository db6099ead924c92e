"""Which rows of which files a `FramesData` holds. Its files may be those of other nodes: AiiDA stores equal files once.

A *group* lies in the root of the node's repository or in a folder of it:

    *.h5        files of frames (`aiida_hqe.hdf5`), by their names first, second, ...
    *.hashes    content hashes of the frames of the file of that name, 32 bytes each, so that it need not be opened to look
    rows.npy    number of the file and row in it of each frame, (n, 2); where it is missing, all rows of all files
    gained.json what the info of each frame has gained since it was written into its file, a mapping each; only beside rows.npy

A node is one group in its root, or the groups in its folders, by their names one after the other.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from aiida.orm import Data
from aiida.repository import Repository
from aiida.repository.backend import SandboxRepositoryBackend

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Ints, Scalar

WHOLE = "frames.h5"
"""The file of a node whose frames are in no other."""

ROWS = "rows.npy"

GAINED = "gained.json"

Info = dict[str, Scalar]


@dataclasses.dataclass(frozen=True)
class Group:
    """Names of its files in the repository, of its rows, ``None`` for all rows of all files, and of what these gained."""

    folder: str
    files: tuple[str, ...]
    rows: str | None
    gained: str | None

    @property
    def names(self) -> list[str]:
        """Everything that belongs to it."""
        return [*self.files, *self.hashes, *(name for name in (self.rows, self.gained) if name)]

    @property
    def hashes(self) -> list[str]:
        """Names of the hashes of each of its files."""
        return [hashes_name(name) for name in self.files]


def hashes_name(file: str) -> str:
    """Name of the hashes of the frames in a file."""
    return f"{file.removesuffix('.h5')}.hashes"


def groups(names: Iterable[str]) -> list[Group]:
    """The groups of a node that has files of these names."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return [_group(folder, folders[folder]) for folder in sorted(folders)]


def _group(folder: str, names: list[str]) -> Group:
    files = tuple(name for name in names if name.endswith(".h5"))
    rows, gained = (next((name for name in names if name.endswith(last)), None) for last in (ROWS, GAINED))
    return Group(folder, files, rows, gained)


def keys(node: Data) -> dict[str, str]:
    """Name and key of each file of a node that has its files in the profile; the key is the SHA-256 of the content.

    Raises
    ------
    InputError
        The node has files that are not stored.
    """
    if isinstance(node.base.repository._repository.backend, SandboxRepositoryBackend):
        raise InputError("a stored node was expected (got one that is not): store it before another shares its files")
    flat = Repository.flatten(node.base.repository.serialize())
    return {name: key for name, key in flat.items() if key is not None}


def contents(node: Data, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of small files of a node; those in the profile are read in one go, because each access costs milliseconds."""
    repository = node.base.repository._repository
    if isinstance(repository.backend, SandboxRepositoryBackend):
        return {name: repository.get_object_content(name) for name in names}
    of = keys(node)
    wanted = {of[name] for name in names}
    try:
        found = {key: stream.read() for key, stream in repository.backend.iter_object_streams(list(wanted))}
        return {name: found[of[name]] for name in names}
    except (OSError, KeyError) as error:
        raise IntegrityError(
            f"node {node.uuid}: its files were expected (got none of {error}): restore them"
        ) from error


def share(
    node: Data, files: Mapping[str, str], rows: Ints | None = None, gained: Sequence[Mapping[str, Scalar]] = ()
) -> None:
    """Make files that the profile has already, by name and key, those of a new node; and write its own `rows`.

    `gained` are the entries that the info of each of its frames has gained.

    AiiDA does the same for a node that it takes from its cache.
    """
    repository = Repository.from_serialized(node.backend.get_repository(), _tree(files))
    if rows is not None:
        repository.put_object_from_filelike(io.BytesIO(_packed(rows)), ROWS)
    if any(gained):
        text = json.dumps([dict(entries) for entries in gained])
        repository.put_object_from_filelike(io.BytesIO(text.encode()), GAINED)
    node.base.repository._repository = repository


def load_rows(content: bytes) -> Ints:
    """Rows of a group, (n, 2): number of the file, row in it."""
    return np.load(io.BytesIO(content), allow_pickle=False).astype(np.int64)


def _packed(rows: Ints) -> bytes:
    stream = io.BytesIO()
    np.save(stream, rows.astype("<i4"), allow_pickle=False)
    return stream.getvalue()


def _tree(files: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, key in files.items():
        *folders, last = name.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault("o", {}).setdefault(folder, {})
        at.setdefault("o", {})[last] = {"k": key}
    return tree


def pick(columns: Sequence[Sequence[Any]], rows: Ints | None) -> list[Any]:
    """Values of the frames of a group, of those of each of its files."""
    if rows is None:
        return [value for column in columns for value in column]
    return [columns[file][row] for file, row in rows.tolist()]
