"""Frames and predictions in HDF5: ragged arrays side by side, deterministic bytes, a checksum that finds damage.

A file holds flat datasets without groups. Frame *i* owns the rows ``offsets[i]`` to ``offsets[i + 1]`` of each ragged
array; a label array holds rows only for those frames that ``has_<name>`` marks. Nothing depends on when the file was
written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames, replacing
from aiida_hqe.predictions import Prediction

FRAMES_FORMAT = "aiida-hqe frames"
PREDICTIONS_FORMAT = "aiida-hqe predictions"
VERSION = 1

MISFITS = (
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
)  # what content of a wrong shape or type leads to

Arrays = dict[str, np.ndarray]

_QM = ("numbers", "positions", "core")
_MM = ("mm_numbers", "mm_positions", "mm_charges")
_PREDICTED = {
    "environment_energies": None, "environment_forces": "qm", "environment_mm_forces": "mm",
    "energies": None, "forces": "qm", "mm_forces": "mm",
}  # fmt: skip


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write frames, whole or not at all; equal frames are equal bytes."""
    frames = list(frames)
    arrays: Arrays = {
        "charge": np.array([frame.charge for frame in frames], dtype=np.int64),
        "spin": np.array([frame.spin for frame in frames], dtype=np.int64),
        "qm_offsets": _offsets([frame.n_qm for frame in frames]),
        "mm_offsets": _offsets([frame.n_mm for frame in frames]),
        "info": np.frombuffer(json.dumps([dict(frame.info) for frame in frames]).encode(), dtype=np.uint8),
        "hash": as_bytes([bytes.fromhex(frame.hash) for frame in frames]),
        "digest": as_bytes([frame.digest for frame in frames]),
    }
    for name in (*_QM, *_MM):
        arrays[name] = _stack(name, [getattr(frame, name) for frame in frames])
    for name in (*ENERGIES, *FORCES, *MM_FORCES):
        values = [getattr(frame, name) for frame in frames]
        has = np.array([value is not None for value in values], dtype=np.uint8)
        if has.any():
            arrays[f"has_{name}"] = has
            present = [value for value in values if value is not None]
            arrays[name] = np.array(present, dtype=np.float64) if name in ENERGIES else _stack(name, present)
    _write(Path(path), FRAMES_FORMAT, arrays)


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
    arrays = _read(path, FRAMES_FORMAT)
    try:
        return frames_of(arrays)
    except (*MISFITS, InputError) as error:
        raise _damaged(path, f"its content does not fit together ({type(error).__name__}: {error})") from error


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions of one committee, whole or not at all; equal predictions are equal bytes.

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
        "qm_offsets": _offsets([prediction.forces.shape[1] for prediction in predictions]),
        "mm_offsets": _offsets([prediction.mm_forces.shape[1] for prediction in predictions]),
        "n_members": np.array([n_members], dtype=np.int64),
    }
    for name, region in _PREDICTED.items():
        values = [np.asarray(getattr(prediction, name), dtype=np.float64) for prediction in predictions]
        if region is None:
            arrays[name] = np.array(values).reshape(len(values), n_members)
        else:
            arrays[name] = np.concatenate([np.zeros((n_members, 0, 3)), *values], axis=1)
    _write(Path(path), PREDICTIONS_FORMAT, arrays)


def read_predictions(path: str | Path) -> list[Prediction]:
    """Read the predictions that :func:`write_predictions` wrote, bit-identical.

    Raises
    ------
    InputError
        The file is missing, or holds something else.
    IntegrityError
        The file is truncated or damaged.
    """
    path = Path(path)
    arrays = _read(path, PREDICTIONS_FORMAT)
    try:
        rows = {region: list(pairwise(arrays[f"{region}_offsets"].tolist())) for region in ("qm", "mm")}
        return [
            Prediction(
                frame=name.decode(),
                **{
                    key: arrays[key][i] if region is None else arrays[key][:, slice(*rows[region][i])]
                    for key, region in _PREDICTED.items()
                },
            )
            for i, name in enumerate(arrays["frame"].tolist())
        ]
    except MISFITS as error:
        raise _damaged(path, f"its content does not fit together ({type(error).__name__}: {error})") from error


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


def _offsets(counts: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _stack(name: str, values: list[np.ndarray]) -> np.ndarray:
    dtype = np.int64 if name in {"numbers", "core", "mm_numbers"} else np.float64
    empty = np.zeros((0, 3) if "positions" in name or "forces" in name else 0, dtype=dtype)
    return np.concatenate([empty, *values])


# -- the file ---------------------------------------------------------------------------------------------------------


def _write(path: Path, kind: str, arrays: Arrays) -> None:
    with replacing(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        file.attrs["format"] = np.bytes_(kind)
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["checksum"] = np.bytes_(_checksum(arrays))
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name], track_times=False)


def _read(path: Path, kind: str) -> Arrays:
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
        raise _damaged(path, f"HDF5 cannot read it ({error})") from error
    if not intact:
        raise _damaged(path, "its checksum differs")
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
    if version != VERSION:
        expected = f"version {VERSION} of {kind}"
        raise InputError(f"{path}: {expected} was expected (got {version!r}): use the aiida-hqe that wrote it")


def _checksum(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _damaged(path: Path, reason: str) -> IntegrityError:
    reason = " ".join(reason.split())
    return IntegrityError(f"{path}: an intact HDF5 file was expected (got a damaged one: {reason}): restore it")
