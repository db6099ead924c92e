"""`FrameFile`: the frames of an HDF5 file by rows. What is not asked for is not read, and what is read is checked.

Hashes, digests and infos are columns of their own; a frame that is taken must have the digest that the file names, so that a
damaged row is found without reading the others.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from aiida_hqe import hdf5
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames, Ints, Scalar

_FIXED = {
    "numbers": "qm",
    "positions": "qm",
    "core": "qm",
    "mm_numbers": "mm",
    "mm_positions": "mm",
    "mm_charges": "mm",
}
_LABELS = {**dict.fromkeys(ENERGIES), **dict.fromkeys(FORCES, "qm"), **dict.fromkeys(MM_FORCES, "mm")}
_WHOLE = 4
"""Where more than one row in so many is asked for, a column is read whole: a few long reads are faster than many short ones."""


class Outline(NamedTuple):
    """What a summary of frames says about one of them."""

    n_qm: int
    n_mm: int
    elements: frozenset[int]
    labelled: bool
    has_target: bool


def outline(frame: Frame) -> Outline:
    """The outline of a frame."""
    labelled, has_target = frame.environment_energy is not None, frame.energy is not None
    return Outline(frame.n_qm, frame.n_mm, frozenset(frame.numbers.tolist()), labelled, has_target)


class FrameFile:
    """Frames of an open HDF5 file that `aiida_hqe.hdf5.write_frames` wrote; use `open_frames`."""

    def __init__(self, file: h5py.File, name: str) -> None:
        self._file, self.name = file, name

    def __len__(self) -> int:
        return int(self._file["charge"].shape[0])

    @cached_property
    def digests(self) -> np.ndarray:
        """Digest of each frame (n, 32)."""
        with _reading(self.name):
            if "digest" in self._file:
                return np.asarray(self._file["digest"][()]).reshape(len(self), 32)
            return hdf5.as_bytes([frame.digest for frame in self._all])

    @cached_property
    def hashes(self) -> list[str]:
        """Content hash of each frame, in order."""
        with _reading(self.name):
            if "hash" not in self._file:
                return self._all.hashes
            text = self._file["hash"][()].reshape(len(self), 32).tobytes().hex()
            return [text[at : at + 64] for at in range(0, len(text), 64)]

    @cached_property
    def infos(self) -> list[Mapping[str, Scalar]]:
        """The info of each frame, in order."""
        with _reading(self.name):
            return list(json.loads(self._file["info"][()].tobytes()))

    @cached_property
    def outlines(self) -> list[Outline]:
        """Sizes, elements and labels of each frame, in order."""
        with _reading(self.name):
            n_qm, n_mm = (np.diff(self._spans(region)).tolist() for region in ("qm", "mm"))
            numbers = self._cut("numbers", self._spans("qm"), range(len(self)))
            elements = [frozenset(part.tolist()) for part in numbers]
            has = (self.has(name).tolist() for name in ("environment_energy", "energy"))
            return [Outline(*row) for row in zip(n_qm, n_mm, elements, *has, strict=True)]

    def has(self, label: str) -> np.ndarray:
        """Which frames have a label of this name, (n,) of bool."""
        key = f"has_{label}"
        return self._file[key][()].astype(bool) if key in self._file else np.zeros(len(self), dtype=bool)

    def take(self, rows: Sequence[int]) -> Frames:
        """The frames at `rows`, in that order.

        Raises
        ------
        IntegrityError
            One of them is damaged.
        """
        rows = list(rows)
        with _reading(self.name):
            columns: dict[str, Sequence[Any]] = {
                "charge": self._file["charge"][()][rows].tolist(),
                "spin": self._file["spin"][()][rows].tolist(),
                "info": [self.infos[row] for row in rows],
                **{name: self._cut(name, self._spans(region), rows) for name, region in _FIXED.items()},
                **{name: self._label(name, rows) for name in _LABELS if f"has_{name}" in self._file},
            }
            frames = Frames(
                Frame(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
            )
            if not np.array_equal(hdf5.as_bytes([frame.digest for frame in frames]), self.digests[rows]):
                raise ValueError("a frame is not the one that its digest names")
        return frames

    @cached_property
    def _all(self) -> Frames:
        """Every frame, for a file of an earlier version, which names no digests."""
        return hdf5.frames_of({name: item[()] for name, item in self._file.items()})

    def _spans(self, region: str | None) -> Ints:
        """Where the rows of each frame begin and end in a column, (n + 1,)."""
        if region is None:
            return np.arange(len(self) + 1)
        return np.asarray(self._file[f"{region}_offsets"][()])

    def _label(self, name: str, rows: list[int]) -> list[Any]:
        """The label of each frame, ``None`` where it has none."""
        has, region = self.has(name), _LABELS[name]
        spans = np.concatenate([[0], np.cumsum(np.diff(self._spans(region)) * has)])
        values = self._cut(name, spans, rows)
        return [
            (value if region else float(value[0])) if has[row] else None
            for row, value in zip(rows, values, strict=True)
        ]

    def _cut(self, name: str, spans: Ints, rows: Sequence[int]) -> list[Any]:
        data = self._file[name]
        if len(rows) * _WHOLE > len(self):
            data = data[()]
        return [data[spans[row] : spans[row + 1]] for row in rows]


@contextmanager
def open_frames(source: Path | BinaryIO, name: str = "frames") -> Iterator[FrameFile]:
    """The frames of an HDF5 file, to be read by rows.

    Parameters
    ----------
    source
        Path, or a stream that can seek.
    name
        What errors call the file.

    Raises
    ------
    IntegrityError
        It is no intact file of frames.
    """
    with contextlib.ExitStack() as stack:
        with _reading(name):
            file = stack.enter_context(h5py.File(source, "r"))
            if file.attrs["format"] != hdf5.FRAMES_FORMAT.encode():
                raise ValueError("something else")
            hdf5.check_datasets(file, file.id.get_filesize())
        yield FrameFile(file, name)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What goes wrong in reading a file is damage to it."""
    try:
        yield
    except (*hdf5.MISFITS, InputError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise IntegrityError(f"{name}: an intact file of frames was expected (got: {reason}): restore it") from error
