"""`FramesData`: a batch of frames, with whatever labels they have, as one node."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from aiida.orm import Data
from aiida.orm.nodes.caching import NodeCaching

from aiida_hqe.data.groups import WHOLE, Group, Info, contents, groups, hashes_name, keys, load_rows, pick, share
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames, Ints, Scalar

if TYPE_CHECKING:
    from aiida_hqe.columns import FrameFile, Outline


class FramesCaching(NodeCaching):
    """Equal frames in equal order are equal nodes, however they lie in files; what is joined, of equal batches."""

    def get_objects_to_hash(self) -> dict[str, Any]:
        """What AiiDA hashes. The attribute `contents` stands for the files, each of which AiiDA would look up by itself."""
        attributes = self._node.base.attributes.all
        if "contents" not in attributes:
            return super().get_objects_to_hash()
        kept = {key: value for key, value in attributes.items() if key not in self._node._hash_ignored_attributes}
        return {"class": str(type(self._node)), "attributes": kept}


class FramesData(Data):
    """A batch of QM/MM frames.

    Its frames are rows of HDF5 files (`aiida_hqe.data.groups`). A node that is made of others (`subset`, `join`) shares their
    files and costs next to nothing.

    Attributes hold summaries only: `n_frames`, `n_labelled` (environment level), `n_target` (target energy), `elements`
    (atomic numbers of the QM regions), `n_qm` and `n_mm` (the most of a frame), for each of its groups `sizes` (frames) and
    `contents` (SHA-256 of the frames' digests), and, unless it was joined of other batches, the quartiles of `disagreement`
    where the frames carry it and `index`: the beginning of each frame's hash, so that a query finds the nodes that hold a
    frame. What was joined is found through what was added to it.
    """

    FILENAME = WHOLE
    DIGITS = 16
    PART = 2000
    _CLS_NODE_CACHING = FramesCaching
    _hash_ignored_attributes = ("index",)

    @classmethod
    def from_frames(cls, frames: Frames) -> FramesData:
        """An unstored node of `frames`; equal frames in equal order make nodes of equal hash."""
        node = cls()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory).absolute() / cls.FILENAME
            frames.write(path)
            node.base.repository.put_object_from_file(str(path), cls.FILENAME)
        hashes = io.BytesIO(bytes.fromhex("".join(frames.hashes)))
        node.base.repository.put_object_from_filelike(hashes, hashes_name(cls.FILENAME))
        node._summarise()
        return node

    @classmethod
    def from_file(cls, path: str | Path) -> FramesData:
        """An unstored node of the frames in an extended XYZ or HDF5 file.

        Raises
        ------
        InputError
            What `Frames.read` raises.
        """
        return cls.from_frames(Frames.read(path))

    @classmethod
    def join(cls, nodes: Sequence[FramesData]) -> FramesData:
        """An unstored node of the frames of several stored ones, one after the other; none of their files is opened."""
        node, files, groups = cls(), dict[str, str](), 0
        parts = [part for part in nodes if part.n_frames]
        for part in parts:
            of = keys(part)
            for group in part._groups:
                files |= {f"{groups:05d}/{name.rpartition('/')[2]}": of[name] for name in group.names}
                groups += 1
        share(node, files)
        node.base.attributes.set_many(_joined([part.base.attributes.all for part in parts]))
        return node

    @classmethod
    def pick(cls, nodes: Sequence[FramesData], places: Sequence[tuple[int, int]]) -> FramesData:
        """An unstored node of frames of stored nodes, each by the number of its node and its row there, in that order."""
        found = [
            iter(node._places([row for number, row in places if number == index])) for index, node in enumerate(nodes)
        ]
        gained = [iter(node._gained([row for index, row in places if index == i])) for i, node in enumerate(nodes)]
        of, files, rows = [keys(node) for node in nodes], dict[tuple[int, str], int](), []
        for number, _ in places:
            name, row = next(found[number])
            rows.append((files.setdefault((number, name), len(files)), row))
        shared = {f"{index:05d}.h5": (number, name) for (number, name), index in files.items()}
        shared |= {hashes_name(new): (number, hashes_name(name)) for new, (number, name) in shared.items()}
        keyed = {new: of[number][name] for new, (number, name) in shared.items()}
        return cls._sharing(keyed, rows, [next(gained[number]) for number, _ in places])

    @classmethod
    def _sharing(cls, files: Mapping[str, str], rows: Sequence[tuple[int, int]], gained: Sequence[Info]) -> FramesData:
        node = cls()
        share(node, files, np.array(rows, dtype=np.int64).reshape(-1, 2), gained)
        node._summarise()
        return node

    def annotated(self, frames: Frames) -> FramesData:
        """An unstored node of `frames`, frames of this stored one whose info has gained entries, or has other values.

        Only these entries are written; all of `frames`, where they are not frames of this node otherwise.
        """
        rows = self.rows
        if not all(frame.hash in rows for frame in frames):
            return self.from_frames(frames)
        taken = [rows[frame.hash] for frame in frames]
        found = [_gain(old.info, new.info) for old, new in zip(self.take(taken), frames, strict=True)]
        files = dict[str, int]()
        places = [(files.setdefault(name, len(files)), row) for name, row in self._places(taken)]
        of, names = keys(self), {f"{index:05d}.h5": name for name, index in files.items()}
        names |= {hashes_name(new): hashes_name(name) for new, name in names.items()}
        before = self._gained(taken)
        gained = [{**old, **new} for old, new in zip(before, found, strict=True)]
        node = self._sharing({new: of[name] for new, name in names.items()}, places, gained)
        same = node.base.attributes.get("contents") == [_content(frame.digest for frame in frames)]
        return node if same else self.from_frames(frames)

    def subset(self, rows: Iterable[int]) -> FramesData:
        """An unstored node of the frames at `rows` of this stored one, in that order."""
        return self.pick([self], [(0, row) for row in rows])

    @property
    def frames(self) -> Frames:
        """The frames, read from the repository.

        Raises
        ------
        IntegrityError
            The file in the repository is damaged.
        """
        return self.take(range(self.n_frames))

    def take(self, rows: Sequence[int]) -> Frames:
        """The frames at `rows`, in that order; only their files are read.

        Raises
        ------
        IntegrityError
            One of them is damaged.
        """
        places = self._places(rows)
        wanted: dict[str, list[int]] = {}
        for name, row in places:
            wanted.setdefault(name, []).append(row)
        found: dict[str, Iterator[Frame]] = {}
        for name, here in wanted.items():
            with self._open(name) as file:
                found[name] = iter(file.take(here))
        taken = [next(found[name]) for name, _ in places]
        gained = self._gained(rows)
        return Frames(
            frame.replace(info={**frame.info, **new}) if new else frame
            for frame, new in zip(taken, gained, strict=True)
        )

    @property
    def hashes(self) -> list[str]:
        """Content hash of each frame, in order."""
        small = [name for group in self._groups for name in (*group.hashes, group.rows) if name]
        of = contents(self, small)
        found: list[str] = []
        for group in self._groups:
            columns = [of[name].hex() for name in group.hashes]
            split = [[text[at : at + 64] for at in range(0, len(text), 64)] for text in columns]
            found += pick(split, load_rows(of[group.rows]) if group.rows else None)
        return found

    @property
    def rows(self) -> dict[str, int]:
        """Row of each distinct frame, where it comes first, by its content hash and in order."""
        rows: dict[str, int] = {}
        for row, key in enumerate(self.hashes):
            rows.setdefault(key, row)
        return rows

    @property
    def digests(self) -> list[bytes]:
        """Digest of each frame, in order."""
        if any(group.gained for group in self._groups):
            return [frame.digest for frame in self.frames]
        return self._column(lambda file: [digest.tobytes() for digest in file.digests])

    @property
    def infos(self) -> list[Mapping[str, Scalar]]:
        """The info of each frame, in order."""
        infos = self._column(lambda file: file.infos)
        return [{**info, **new} for info, new in zip(infos, self._gained(range(len(infos))), strict=True)]

    def check(self, known: set[str]) -> None:
        """Read every file whose key is not in `known`, which gains it.

        Raises
        ------
        IntegrityError
            A frame is not the one that its digest or its hash names.
        """
        of = keys(self)
        for name in [name for group in self._groups for name in group.files if of[name] not in known]:
            known.add(of[name])
            with self._open(name) as file:
                found = file.take(range(len(file))).hashes
            if bytes.fromhex("".join(found)) != contents(self, [hashes_name(name)])[hashes_name(name)]:
                raise IntegrityError(
                    f"{name} of node {self.uuid}: the frames that its hashes name were expected: restore it"
                )

    def write(self, path: Path) -> None:
        """Write the frames as one file, extended XYZ or HDF5 as the suffix says; into HDF5 with few of them in memory."""
        from aiida_hqe.hdf5 import write_frames_in_parts

        if path.suffix not in {".h5", ".hdf5"}:
            self.frames.write(path)
        elif self.FILENAME in self._names:
            with self.base.repository.open(self.FILENAME, "rb") as stream, path.open("wb") as target:
                shutil.copyfileobj(stream, target)
        else:
            starts = range(0, self.n_frames, self.PART)
            write_frames_in_parts(path, (self.take(range(at, min(at + self.PART, self.n_frames))) for at in starts))

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.base.attributes.get("n_frames")

    @property
    def n_labelled(self) -> int:
        """Number of frames that have a label of the environment level."""
        return self.base.attributes.get("n_labelled")

    @property
    def n_target(self) -> int:
        """Number of frames that have a target-level energy."""
        return self.base.attributes.get("n_target")

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur in the QM regions, ascending."""
        return self.base.attributes.get("elements")

    @property
    def sizes(self) -> list[int]:
        """Number of frames in each group."""
        return self.base.attributes.get("sizes", [self.n_frames])

    def find(self, prefix: str) -> Frame:
        """The frame whose content hash starts with `prefix`.

        Raises
        ------
        InputError
            No frame of the batch, or more than one, starts so.
        """
        found = [row for row, key in enumerate(self.hashes) if key.startswith(prefix)]
        if len(found) != 1:
            raise InputError(
                f"one frame {prefix!r} was expected in node {self.pk} (got {len(found)}): give more digits"
            )
        return self.take(found)[0]

    @cached_property
    def _names(self) -> list[str]:
        return [str(folder / name) for folder, _, names in self.base.repository.walk() for name in names]

    @cached_property
    def _groups(self) -> list[Group]:
        return groups(self._names)

    def _gained(self, rows: Sequence[int]) -> list[Info]:
        """What the info of the frames at `rows` has gained since they were written into their files."""
        if not any(group.gained for group in self._groups):
            return [{} for _ in rows]
        all_gained: list[Info] = []
        for group, size in zip(self._groups, self._sizes, strict=True):
            text = "" if group.gained is None else self.base.repository.get_object_content(group.gained, "r")
            all_gained += json.loads(text) if text else [{} for _ in range(size)]
        return [all_gained[row] for row in rows]

    @property
    def _sizes(self) -> list[int]:
        """Number of frames in each group, also before the attributes say so."""
        return self.base.attributes.get("sizes", None) or [len(self._group_places(group)) for group in self._groups]

    def _gaining(self) -> list[tuple[Outline, Mapping[str, Scalar], str, bytes]]:
        """What a summary needs of frames whose info has gained entries; of its files, which may be large, only these are read."""
        if not any(group.gained for group in self._groups):
            return []
        from aiida_hqe.columns import outline

        self.base.attributes.set_many({"n_frames": sum(self._sizes), "sizes": self._sizes})
        frames = self.frames
        return [(outline(frame), frame.info, frame.hash, frame.digest) for frame in frames]

    def _rows(self, group: Group) -> Ints | None:
        return None if group.rows is None else load_rows(self.base.repository.get_object_content(group.rows, "rb"))

    @contextmanager
    def _open(self, name: str) -> Iterator[FrameFile]:
        from aiida_hqe.columns import open_frames

        try:
            with (
                self.base.repository.open(name, "rb") as stream,
                open_frames(stream, f"{name} of node {self.uuid}") as file,
            ):
                yield file
        except FileNotFoundError as error:
            raise IntegrityError(f"{name} of node {self.uuid}: a file was expected (got none): restore it") from error

    def _column(self, read: Callable[[FrameFile], Sequence[Any]]) -> list[Any]:
        """What to `read` of each frame, in order."""
        found: list[Any] = []
        for group in self._groups:
            columns = []
            for name in group.files:
                with self._open(name) as file:
                    columns.append(read(file))
            found += pick(columns, self._rows(group))
        return found

    def _places(self, rows: Sequence[int]) -> list[tuple[str, int]]:
        """Name of the file, and row in it, of the frames at `rows`."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        of_group = np.searchsorted(starts, np.asarray(rows, dtype=np.int64), side="right") - 1
        places: dict[int, list[tuple[str, int]]] = {}
        for number in np.unique(of_group).tolist():
            places[number] = self._group_places(self._groups[number])
        return [places[number][row - starts[number]] for number, row in zip(of_group.tolist(), rows, strict=True)]

    def _group_places(self, group: Group) -> list[tuple[str, int]]:
        rows = self._rows(group)
        if rows is not None:
            return [(group.files[file], row) for file, row in rows.tolist()]
        places = []
        for name in group.files:
            with self._open(name) as file:
                places += [(name, row) for row in range(len(file))]
        return places

    def _summarise(self) -> None:
        """Set the attributes of a node of one group."""
        rows = self._gaining() or self._column(
            lambda file: list(zip(file.outlines, file.infos, file.hashes, file.digests, strict=True))
        )
        outlines, infos, hashes, digests = zip(*rows, strict=True) if rows else ((), (), (), ())
        summary: dict[str, Any] = {
            "n_frames": len(rows),
            "n_labelled": sum(outline.labelled for outline in outlines),
            "n_target": sum(outline.has_target for outline in outlines),
            "n_qm": max((outline.n_qm for outline in outlines), default=0),
            "n_mm": max((outline.n_mm for outline in outlines), default=0),
            "elements": sorted(set().union(*(outline.elements for outline in outlines))),
            "contents": [_content(digests)],
            "index": "".join(f"|{key[: self.DIGITS]}" for key in hashes),
            "sizes": [len(rows)],
        }
        spread = [float(info["disagreement"]) for info in infos if "disagreement" in info]
        if spread:
            summary["disagreement"] = [float(value) for value in np.quantile(spread, [0, 0.25, 0.5, 0.75, 1])]
        self.base.attributes.set_many(summary)


def _gain(before: Mapping[str, Scalar], now: Mapping[str, Scalar]) -> Info:
    """Entries of an info that another one lacks, or has with another value."""
    return {key: value for key, value in now.items() if key not in before or before[key] != value}


def _content(digests: Iterable[Any]) -> str:
    """Identity of a group: SHA-256 of the digests of its frames, in order."""
    return hashlib.sha256(b"".join(bytes(digest) for digest in digests)).hexdigest()


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes of what is joined of batches with these ones."""
    summary: dict[str, Any] = {key: sum(part[key] for part in parts) for key in ("n_frames", "n_labelled", "n_target")}
    summary |= {key: max((part[key] for part in parts), default=0) for key in ("n_qm", "n_mm")}
    summary |= {key: [entry for part in parts for entry in part[key]] for key in ("sizes", "contents")}
    return summary | {"elements": sorted({element for part in parts for element in part["elements"]})}
