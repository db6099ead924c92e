"""Residuals in HDF5: how far a committee is from labels, as `hqe-job predict` leaves it of labelled frames."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_hqe import hdf5
from aiida_hqe.predictions import PER_FRAME, Residuals

_SHOWN = {"shown_forces": "qm", "shown_mm_forces": "mm"}
_SAID = ("level", "energy_level", "force_method")


def write_residuals(path: str | Path, found: Residuals) -> None:
    """Write residuals, whole or not at all; equal residuals are equal bytes."""
    said = {name: getattr(found, name) for name in _SAID}
    arrays: hdf5.Arrays = {
        "frame": hdf5.as_bytes([bytes.fromhex(key) for key in found.frames]),
        "said": np.frombuffer(json.dumps(said, sort_keys=True).encode(), dtype=np.uint8),
        **{name: np.asarray(getattr(found, name), dtype=np.float64) for name in PER_FRAME},
    }
    for name, region in _SHOWN.items():
        values = getattr(found, name)
        arrays[f"{region}_offsets"] = hdf5.offsets([len(value) for value in values])
        arrays[name] = hdf5.narrow(np.concatenate([np.zeros((0, 3)), *values]))
    hdf5.write_arrays(Path(path), hdf5.RESIDUALS_FORMAT, arrays)


def read_residuals(path: str | Path) -> Residuals:
    """Read the residuals that :func:`write_residuals` wrote.

    Raises
    ------
    InputError
        The file is missing, or holds something else.
    IntegrityError
        The file is truncated or damaged.
    """
    path = Path(path)
    arrays = hdf5.read_arrays(path, hdf5.RESIDUALS_FORMAT)
    try:
        names = bytes(arrays["frame"]).hex()
        frames = [names[at : at + 64] for at in range(0, len(names), 64)]
        if any(len(arrays[name]) not in {0, len(frames)} for name in PER_FRAME):
            raise ValueError("arrays differ in their number of frames")
        shown = {
            name: [arrays[name][a:b].astype(np.float64) for a, b in pairwise(arrays[f"{region}_offsets"].tolist())]
            for name, region in _SHOWN.items()
        }
        said = {name: json.loads(bytes(arrays["said"]))[name] for name in _SAID}
        found: dict[str, Any] = {**said, **{name: arrays[name] for name in PER_FRAME}, **shown}
        return Residuals(frames=frames, **found)
    except hdf5.MISFITS as error:
        raise hdf5.damaged(path, f"its content does not fit together ({type(error).__name__}: {error})") from error


def holds_residuals(path: str | Path) -> bool:
    """Whether an HDF5 file says that it is one of residuals."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == hdf5.RESIDUALS_FORMAT.encode())
    except OSError:
        return False
