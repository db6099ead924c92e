"""Frames and predictions in HDF5: ragged arrays side by side, deterministic bytes, a checksum that finds damage.

A file holds flat datasets without groups. Frame *i* owns the rows ``offsets[i]`` to ``offsets[i + 1]`` of each ragged
array; a label array holds rows only for those frames that ``has_<name>`` marks. Whole numbers take the fewest bytes that hold
them, and forces that a committee predicts single precision. Nothing depends on when the file was written.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames
from aiida_hqe.predictions import Prediction
from aiida_hqe.writing import creating, writing

FRAMES_FORMAT = "aiida-hqe frames"
PREDICTIONS_FORMAT = "aiida-hqe predictions"
RESIDUALS_FORMAT = "aiida-hqe residuals"
VERSIONS = {FRAMES_FORMAT: 1, PREDICTIONS_FORMAT: 2, RESIDUALS_FORMAT: 1}
"""Newest version of each format; earlier ones are read too. The first one of predictions held double precision."""

MISFITS = (
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
)  # what content of a wrong shape or type leads to

Arrays = dict[str, np.ndarray]


class Column(NamedTuple):
    """A column in a file of its own, (n, *shape), that is read when it is its turn."""

    path: Path
    kind: np.dtype[Any]
    shape: tuple[int, ...]


Columns = dict[str, np.ndarray | Column]

_QM = ("numbers", "positions", "core")
_MM = ("mm_numbers", "mm_positions", "mm_charges")
_WHOLE_NUMBERS = ("numbers", "core", "mm_numbers")
_PREDICTED = {
    "environment_energies": None, "environment_forces": "qm", "environment_mm_forces": "mm",
    "energies": None, "forces": "qm", "mm_forces": "mm",
}  # fmt: skip


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write frames, whole or not at all; equal frames are equal bytes."""
    write_arrays(Path(path), FRAMES_FORMAT, _stored(_columns(list(frames))))


def write_frames_in_parts(path: str | Path, parts: Iterable[Iterable[Frame]]) -> None:
    """Write the frames of several parts, the same bytes as `write_frames`, with one part at a time in memory.

    Meanwhile each column lies in a file of its own beside `path`.
    """
    path = Path(path)
    with writing(path), tempfile.TemporaryDirectory(dir=path.absolute().parent) as folder:
        columns: Columns = {}
        for name, column in (entry for part in parts for entry in _columns(list(part)).items()):
            values = _read_column(column)
            columns[name] = Column(Path(folder) / name, values.dtype, values.shape[1:])
            with (Path(folder) / name).open("ab") as stream:
                stream.write(_bytes(values))
        write_arrays(path, FRAMES_FORMAT, _stored(columns or _columns([])))


def _read_column(column: np.ndarray | Column) -> np.ndarray:
    if isinstance(column, Column):
        return np.fromfile(column.path, dtype=column.kind).reshape(-1, *column.shape)
    return column


def _columns(frames: list[Frame]) -> Columns:
    """What is stored of frames, so that the columns of several parts, one after the other, are those of all together."""
    columns: Columns = {
        "charge": np.array([frame.charge for frame in frames], dtype=np.int64),
        "spin": np.array([frame.spin for frame in frames], dtype=np.int64),
        "n_qm": np.array([frame.n_qm for frame in frames], dtype=np.int64),
        "n_mm": np.array([frame.n_mm for frame in frames], dtype=np.int64),
        "info": np.frombuffer("".join(f"{json.dumps(dict(f.info))}, " for f in frames).encode(), dtype=np.uint8),
        "hash": as_bytes([bytes.fromhex(frame.hash) for frame in frames]),
        "digest": as_bytes([frame.digest for frame in frames]),
    }
    for name in (*_QM, *_MM):
        columns[name] = _stack(name, [getattr(frame, name) for frame in frames])
    for name in (*ENERGIES, *FORCES, *MM_FORCES):
        values = [getattr(frame, name) for frame in frames]
        columns[f"has_{name}"] = np.array([value is not None for value in values], dtype=np.uint8)
        present = [value for value in values if value is not None]
        columns[name] = np.array(present, dtype=np.float64) if name in ENERGIES else _stack(name, present)
    return columns


def _stored(columns: Columns) -> Columns:
    """The datasets of a file, of the columns of its frames; large ones stay where they are."""
    arrays = dict(columns)
    for region in ("qm", "mm"):
        arrays[f"{region}_offsets"] = offsets(_read_column(arrays.pop(f"n_{region}")))
    arrays["info"] = np.frombuffer(b"[" + _read_column(arrays["info"]).tobytes()[:-2] + b"]", dtype=np.uint8)
    for name in _WHOLE_NUMBERS:
        numbers = _read_column(arrays[name])
        arrays[name] = numbers.astype(smallest(numbers))
    for name in (*ENERGIES, *FORCES, *MM_FORCES):
        if not _read_column(arrays[f"has_{name}"]).any():
            del arrays[name], arrays[f"has_{name}"]
    return arrays


def read_frames(path: str | Path) -> Frames:
    """Read the frames that :func:`write_frames` wrote, bit-identical.

    Raises
    ------
    InputError
        The file is missing, or holds something else.
    IntegrityError
        The file is truncated or damaged.
    """
    path = Path(path)
    arrays = read_arrays(path, FRAMES_FORMAT)
    try:
        return frames_of(arrays)
    except (*MISFITS, InputError) as error:
        raise damaged(path, f"its content does not fit together ({type(error).__name__}: {error})") from error


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions of one committee, whole or not at all; equal predictions are equal bytes.

    Forces are rounded to single precision. What is the same at the target level as at that of the environment, because the
    committee never learned the target, is written once.

    Raises
    ------
    InputError
        The predictions differ in their number of members.
    """
    predictions = list(predictions)
    members = {prediction.n_members for prediction in predictions}
    if len(members) > 1:
        got = " and ".join(map(str, sorted(members)))
        raise InputError(f"predictions of one committee were expected (got {got} members): write one file each")
    n_members = members.pop() if members else 0
    arrays: Arrays = {
        "frame": np.array([prediction.frame.encode() for prediction in predictions], dtype="S64"),
        "qm_offsets": offsets([prediction.forces.shape[1] for prediction in predictions]),
        "mm_offsets": offsets([prediction.mm_forces.shape[1] for prediction in predictions]),
        "n_members": np.array([n_members], dtype=np.int64),
    }
    for name, region in _PREDICTED.items():
        values = [getattr(prediction, name) for prediction in predictions]
        if region is None:
            arrays[name] = np.array(values, dtype=np.float64).reshape(len(values), n_members)
        else:
            arrays[name] = narrow(np.concatenate([np.zeros((n_members, 0, 3)), *values], axis=1))
        if f"environment_{name}" in arrays and arrays[name].tobytes() == arrays[f"environment_{name}"].tobytes():
            del arrays[name]
    write_arrays(Path(path), PREDICTIONS_FORMAT, arrays)


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read the predictions that :func:`write_predictions` wrote, in double precision.

    Raises
    ------
    InputError
        The file is missing, or holds something else.
    IntegrityError
        The file is truncated or damaged.
    """
    path = Path(path)
    arrays = read_arrays(path, PREDICTIONS_FORMAT)
    try:
        rows = {region: list(pairwise(arrays[f"{region}_offsets"].tolist())) for region in ("qm", "mm")}
        said = {key: arrays[key if key in arrays else f"environment_{key}"].astype(np.float64) for key in _PREDICTED}
        return [
            Prediction(
                frame=name.decode(),
                **{
                    key: said[key][i] if region is None else said[key][:, slice(*rows[region][i])]
                    for key, region in _PREDICTED.items()
                },
            )
            for i, name in enumerate(arrays["frame"].tolist())
        ]
    except MISFITS as error:
        raise damaged(path, f"its content does not fit together ({type(error).__name__}: {error})") from error


def frames_of(arrays: Arrays) -> Frames:
    """The frames in the datasets of a file."""
    qm, mm = list(pairwise(arrays["qm_offsets"].tolist())), list(pairwise(arrays["mm_offsets"].tolist()))
    n_frames = len(arrays["charge"])
    columns: dict[str, Sequence[Any]] = {
        "charge": arrays["charge"].tolist(),
        "spin": arrays["spin"].tolist(),
        "info": json.loads(arrays["info"].tobytes()),
        **{name: [arrays[name][a:b] for a, b in qm] for name in _QM},
        **{name: [arrays[name][a:b] for a, b in mm] for name in _MM},
    }
    for name in (*ENERGIES, *FORCES, *MM_FORCES):
        if name in arrays:
            columns[name] = _labels(name, arrays, mm if name in MM_FORCES else qm)
    if {len(column) for column in columns.values()} != {n_frames}:
        raise ValueError("arrays differ in their number of frames")
    frames = Frames(Frame(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))
    for name, found in (
        ("hash", [bytes.fromhex(frame.hash) for frame in frames]),
        ("digest", [f.digest for f in frames]),
    ):
        if name in arrays and arrays[name].tobytes() != b"".join(found):
            raise ValueError(f"a frame is not the one that its {name} names")
    return frames


def _labels(name: str, arrays: Arrays, rows: list[tuple[int, int]]) -> list[Any]:
    """The label of each frame, `None` where it has none."""
    has = arrays[f"has_{name}"].astype(bool).tolist()
    if name in ENERGIES:
        values = iter(arrays[name].tolist())
        return [next(values) if there else None for there in has]
    labels, at = [], 0
    for there, (a, b) in zip(has, rows, strict=True):
        labels.append(arrays[name][at : at + b - a] if there else None)
        at += (b - a) * there
    return labels


def as_bytes(digests: list[bytes]) -> np.ndarray:
    """Digests of 32 bytes each, (n, 32)."""
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 32)


def offsets(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where the rows of each frame begin, and the last ones end, (n + 1,), of how many each has."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _stack(name: str, values: list[np.ndarray]) -> np.ndarray:
    dtype = np.int64 if name in _WHOLE_NUMBERS else np.float64
    empty = np.zeros((0, 3) if "positions" in name or "forces" in name else 0, dtype=dtype)
    return np.concatenate([empty, *values])


def narrow(values: np.ndarray) -> np.ndarray:
    """Values in single precision, or as they are where that cannot hold one of them."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    return narrow if np.isfinite(narrow).all() else values


def smallest(values: np.ndarray) -> np.dtype[Any]:
    """The type of fewest bytes that holds whole numbers."""
    ends = (values.min(), values.max()) if values.size else (0, 0)
    types = (np.dtype(name) for name in ("i1", "i2", "i4", "i8"))
    return next(kind for kind in types if np.iinfo(kind).min <= ends[0] and ends[1] <= np.iinfo(kind).max)


# -- the file ---------------------------------------------------------------------------------------------------------


def write_arrays(path: Path, kind: str, arrays: Mapping[str, np.ndarray | Column]) -> None:
    """Write a file of a format, whole or not at all."""
    with creating(path) as file:
        file.attrs["format"] = np.bytes_(kind)
        file.attrs["version"] = np.int64(VERSIONS[kind])
        file.attrs["checksum"] = np.bytes_(_checksum(arrays))
        for name in sorted(arrays):
            file.create_dataset(name, data=_read_column(arrays[name]), track_times=False)


def read_arrays(path: Path, kind: str) -> Arrays:
    """The datasets of a file of a format, unless it is damaged or something else."""
    try:
        size = path.stat().st_size
        ours = h5py.is_hdf5(path)
    except OSError as error:
        raise InputError(f"{path}: a readable file was expected (got {error.strerror}): check the path") from error
    if not ours:
        raise InputError(f"{path}: an HDF5 file of {kind} was expected (got something else): check the path")
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, kind, dict(file.attrs))
            check_datasets(file, size)
            arrays = {name: item[()] for name, item in file.items()}
            intact = file.attrs["checksum"] == _checksum(arrays).encode()
    except (*MISFITS, OSError, RuntimeError, MemoryError, OverflowError) as error:
        raise damaged(path, f"HDF5 cannot read it ({error})") from error
    if not intact:
        raise damaged(path, "its checksum differs")
    return arrays


def check_datasets(file: h5py.File, largest: int) -> None:
    """Refuse, before an array is read, what is too large or lies in another file.

    Raises
    ------
    ValueError
        An entry is no dataset of this file, or has more than `largest` bytes.
    """
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError("an entry refers to another file")  # noqa: TRY004
        item = file[name]
        if not isinstance(item, h5py.Dataset) or item.nbytes > largest:
            raise ValueError("a dataset is larger than the file")
        if item.external or item.is_virtual:
            raise ValueError("a dataset lies in another file")


def _check_format(path: Path, kind: str, attributes: dict[str, Any]) -> None:
    found, version = attributes.get("format"), attributes.get("version")
    if found != kind.encode():
        raise InputError(f"{path}: a file of {kind} was expected (got format {found!r}): check the path")
    if version not in range(1, VERSIONS[kind] + 1):
        expected = f"version {VERSIONS[kind]} of {kind}, or an earlier one,"
        raise InputError(f"{path}: {expected} was expected (got {version!r}): use the aiida-hqe that wrote it")


def _checksum(arrays: Mapping[str, np.ndarray | Column]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = _read_column(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, which are not copied."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def damaged(path: Path, reason: str) -> IntegrityError:
    """What is raised for a file that is not as it was written."""
    reason = " ".join(reason.split())
    return IntegrityError(f"{path}: an intact HDF5 file was expected (got a damaged one: {reason}): restore it")
