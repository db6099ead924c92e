"""`Frame`: one QM/MM configuration with its labels; `Frames`: a batch of them, in extended XYZ or HDF5."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aiida_hqe.errors import InputError

Scalar = str | int | float | bool
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OVERLAP = 0.35
"""Two atoms closer than this (angstrom) mean a damaged structure: it is less than half the shortest bond, H2's 0.74."""

FARTHEST = 1e5
"""A QM atom farther from the origin (angstrom), ten micrometres, means a damaged structure."""

STRONGEST = 100.0
"""A larger point charge (e) means a damaged file: those of force fields, ions included, are a few e at most."""

ENERGIES = ("environment_energy", "energy", "baseline_energy")
FORCES = ("environment_forces", "forces", "baseline_forces")
MM_FORCES = ("environment_mm_forces", "mm_forces", "baseline_mm_forces")


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Frame:
    """One configuration of the QM region in its (switched, imaged) MM point charges, with any labels it has.

    Arrays are kept read-only and in double precision. Lengths are in angstrom, charges in e, energies in eV, forces in
    eV/angstrom. `docs/quantities.md` defines each of them.

    Parameters
    ----------
    numbers, positions
        Atomic numbers (n_qm,) and positions (n_qm, 3) of the QM atoms.
    charge, spin
        Total charge of the QM region, and 2S, the number of unpaired electrons.
    core
        Number of the quantum core each QM atom belongs to, 0 for none; cores count 1, 2, ... (n_qm,).
    mm_numbers, mm_positions, mm_charges
        Elements (0 for a site that is no atom), positions and *effective* charges of the MM sites; may be empty.
    environment_energy, environment_forces, environment_mm_forces
        Label of the environment level: energy, forces on the QM atoms and on the point charges.
    energy, forces, mm_forces
        Label of the target level.
    baseline_energy, baseline_forces, baseline_mm_forces
        Label of a cheap baseline.
    info
        Scalars that travel with the frame: where it was sampled, its disagreement, its cost.

    Raises
    ------
    InputError
        A shape is wrong, a value is not finite, a core number is skipped, or charge and spin do not fit the electrons.
    """

    numbers: Ints
    positions: Floats
    charge: int
    spin: int
    core: Ints = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mm_numbers: Ints = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    mm_positions: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 3)))
    mm_charges: Floats = dataclasses.field(default_factory=lambda: np.zeros(0))
    environment_energy: float | None = None
    environment_forces: Floats | None = None
    environment_mm_forces: Floats | None = None
    energy: float | None = None
    forces: Floats | None = None
    mm_forces: Floats | None = None
    baseline_energy: float | None = None
    baseline_forces: Floats | None = None
    baseline_mm_forces: Floats | None = None
    info: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        n_qm, n_mm = _length(self.numbers), _length(self.mm_charges)
        if n_qm == 0:
            raise InputError("a frame needs at least one QM atom (got none): mark atoms with region QM", "numbers")
        if len(self.core) == 0:
            object.__setattr__(self, "core", np.zeros(n_qm, dtype=np.int64))
        self._store("numbers", (n_qm,), np.int64)
        self._store("positions", (n_qm, 3), np.float64)
        self._store("core", (n_qm,), np.int64)
        self._store("mm_numbers", (n_mm,), np.int64)
        self._store("mm_positions", (n_mm, 3), np.float64)
        self._store("mm_charges", (n_mm,), np.float64)
        for name in FORCES:
            self._store(name, (n_qm, 3), np.float64)
        for name in MM_FORCES:
            self._store(name, (n_mm, 3), np.float64)
        for name in ENERGIES:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _energy(name, getattr(self, name)))
        for name in ("charge", "spin"):
            object.__setattr__(self, name, _integer(name, getattr(self, name)))
        self._check_cores()
        self._check_electrons()
        object.__setattr__(self, "info", _checked_info(self.info))

    def _store(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        value = getattr(self, name)
        if value is None and name in (*FORCES, *MM_FORCES):
            return
        array = _array(name, value, shape, dtype)
        if array.shape != shape:
            raise InputError(f"{name} must have shape {shape}, got {array.shape}", name)
        if dtype is np.float64 and not np.isfinite(array).all():
            raise InputError(f"{name} must be finite (got NaN or infinity): remove or repair the frame", name)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _check_cores(self) -> None:
        found = sorted(set(self.core.tolist()) - {0})
        if found != list(range(1, len(found) + 1)):
            raise InputError(f"cores must be numbered 1, 2, ... without a gap (got {found}): renumber them", "core")

    def _check_electrons(self) -> None:
        numbers = self.numbers.tolist()
        if min(numbers) < 1 or max(numbers) > 118:
            raise InputError(f"QM atoms must be elements 1 to 118 (got {sorted(set(numbers))})", "numbers")
        if self.n_mm and (self.mm_numbers.min() < 0 or self.mm_numbers.max() > 118):
            raise InputError("MM sites must be elements 1 to 118, or 0 for no atom: correct them", "mm_numbers")
        electrons = sum(numbers) - self.charge
        if self.spin < 0 or electrons < max(self.spin, 1) or (electrons - self.spin) % 2:
            raise InputError(
                f"charge {self.charge} leaves {electrons} electrons, which cannot have {self.spin} unpaired:"
                " correct charge or spin (spin is 2S)",
                "spin",
            )

    @property
    def n_qm(self) -> int:
        """Number of QM atoms."""
        return len(self.numbers)

    @property
    def n_mm(self) -> int:
        """Number of MM point charges."""
        return len(self.mm_charges)

    @property
    def n_cores(self) -> int:
        """Number of quantum cores."""
        return int(self.core.max())

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the configuration (not of labels or info): the identity of the frame, 64 hexadecimal digits."""
        digest = hashlib.sha256(f"hqe-frame-1 {self.n_qm} {self.n_mm} {self.charge} {self.spin}".encode())
        for array in (self.numbers, self.positions, self.core, self.mm_numbers, self.mm_positions, self.mm_charges):
            digest.update((array + 0).astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of all that the frame holds: configuration, labels and info."""
        digest = hashlib.sha256(bytes.fromhex(self.hash))
        for name in (*ENERGIES, *FORCES, *MM_FORCES):
            if (value := getattr(self, name)) is not None:
                digest.update(name.encode() + np.asarray(value, dtype="<f8").tobytes())
        digest.update(json.dumps(dict(self.info)).encode())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        """Bit-identical in every field, labels and info included."""
        if not isinstance(other, Frame):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))

    def __repr__(self) -> str:
        labels = [name for name in (*ENERGIES, *FORCES, *MM_FORCES) if getattr(self, name) is not None]
        return (
            f"Frame({self.hash[:12]}: {self.n_qm} QM atoms, {self.n_mm} charges, labels {', '.join(labels) or 'none'})"
        )

    def __hash__(self) -> int:
        return hash(self.hash)

    def replace(self, **changes: Any) -> Frame:
        """A copy with `changes`, validated anew."""
        return dataclasses.replace(self, **changes)

    def unlabelled(self) -> Frame:
        """The configuration and info alone, without any label."""
        return self.replace(**dict.fromkeys((*ENERGIES, *FORCES, *MM_FORCES)))

    def check_qm_geometry(self) -> None:
        """Raise `InputError` if two QM atoms lie on top of each other."""
        distances = _distances(self.positions, self.positions)
        distances[np.diag_indices(self.n_qm)] = np.inf
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        if distances[i, j] < OVERLAP:
            raise InputError(
                f"QM atoms {i} and {j} overlap ({distances[i, j]:.3f} angstrom apart, at least {OVERLAP} expected):"
                " correct the coordinates",
                "positions",
            )

    def check_geometry(self) -> None:
        """Raise `InputError` if two QM atoms, or a QM atom and a point charge, lie on top of each other, or are out of reach."""
        if (reach := float(np.abs(self.positions).max())) > FARTHEST:
            raise InputError(
                f"QM atoms within {FARTHEST:g} angstrom of the origin were expected (got {reach:.3g}): correct them",
                "positions",
            )
        self.check_qm_geometry()
        if not self.n_mm:
            return
        if (charge := float(np.abs(self.mm_charges).max())) > STRONGEST:
            raise InputError(
                f"point charges up to {STRONGEST:g} e were expected (got {charge:.3g} e): correct them", "mm_charges"
            )
        distances = _distances(self.positions, self.mm_positions)
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        if distances[i, j] < OVERLAP:
            raise InputError(
                f"point charge {j} lies on QM atom {i} ({distances[i, j]:.3f} angstrom apart, at least {OVERLAP}"
                " expected): correct the coordinates or remove the charge",
                "mm_positions",
            )


class Batch(Protocol):
    """Frames in order, wherever they are: `Frames` in memory, or a node of which only what is asked for is read."""

    @property
    def hashes(self) -> list[str]:
        """Content hash of each frame."""
        ...

    @property
    def infos(self) -> list[Mapping[str, Scalar]]:
        """The info of each frame."""
        ...

    def take(self, rows: Sequence[int]) -> Frames:
        """The frames at `rows`, in that order."""
        ...


class Frames(tuple[Frame, ...]):
    """A batch of frames; immutable. Frames may differ in atoms and in the number of charges."""

    @property
    def hashes(self) -> list[str]:
        """Content hash of each frame, in order."""
        return [frame.hash for frame in self]

    @property
    def infos(self) -> list[Mapping[str, Scalar]]:
        """The info of each frame, in order."""
        return [frame.info for frame in self]

    def take(self, rows: Sequence[int]) -> Frames:
        """The frames at `rows`, in that order."""
        return Frames(self[row] for row in rows)

    def unique(self) -> Frames:
        """The batch without repeated configurations; the first of each is kept."""
        return Frames({frame.hash: frame for frame in reversed(self)}[key] for key in dict.fromkeys(self.hashes))

    @classmethod
    def read(cls, path: str | Path) -> Frames:
        """Read extended XYZ (``.xyz``, ``.extxyz``) or HDF5 (``.h5``, ``.hdf5``).

        Raises
        ------
        InputError
            The file is missing, empty, truncated, or a field of it is wrong; the message starts ``file:line:`` for XYZ.
        IntegrityError
            The HDF5 file is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: a file of frames was expected (got none): check the path")
        if path.suffix in {".h5", ".hdf5"}:
            from aiida_hqe import hdf5

            return hdf5.read_frames(path)
        from aiida_hqe import extxyz

        return extxyz.read_frames(path)

    def write(self, path: str | Path) -> None:
        """Write extended XYZ or HDF5, as the suffix says; reading it back gives bit-identical frames.

        Raises
        ------
        InputError, ResourceError
            Nothing can be written there, or the disk is full.
        """
        path = Path(path)
        if path.suffix in {".h5", ".hdf5"}:
            from aiida_hqe import hdf5

            hdf5.write_frames(path, self)
        else:
            from aiida_hqe import extxyz

            extxyz.write_frames(path, self)


def _length(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else 1
    return len(value) if hasattr(value, "__len__") else 1


def _array(name: str, value: Any, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """A copy of `value` in `dtype`, and never a number that changed on the way."""
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} must have shape {shape} (got rows of unequal length): correct it", name) from error
    kind = "integers" if dtype is np.int64 else "real numbers"
    if given.dtype.kind not in "biuf":
        raise InputError(f"{name} must be {kind} (got {given.dtype}): correct them", name)
    with np.errstate(invalid="ignore"):
        array: NDArray[Any] = given.astype(dtype, order="C", copy=True)
    if dtype is np.int64 and given.dtype != dtype and (array != given).any():
        raise InputError(f"{name} must be {kind} (got {given.dtype} that are none): correct them", name)
    return array


def _energy(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise InputError(f"{name} must be finite (got {value!r}): remove or repair the frame", name)
    return float(value)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} must be an integer (got {value!r}): correct it", name)
    return int(value)


def _distances(one: Floats, other: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.linalg.norm(one[:, None] - other[None], axis=-1)


def _checked_info(info: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A copy of `info`, sorted by key, its NumPy scalars made Python's."""
    checked: dict[str, Scalar] = {}
    for key in sorted(info):
        value = info[key]
        if isinstance(value, np.generic):
            value = value.item()
        if not _NAME.fullmatch(key) or key in _RESERVED:
            expected = "a word of letters, digits and underscores that is no field of a frame"
            raise InputError(f"a name of info must be {expected} (got {key!r}): rename it", "info")
        if isinstance(value, str):
            good = value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        elif isinstance(value, int):
            good = abs(value) < 2**63
        else:
            good = isinstance(value, float) and math.isfinite(value)
        if not good:
            raise InputError(f"info {key} must be a finite number or text (got {value!r})", "info")
        checked[key] = value
    return checked


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and one.tobytes() == other.tobytes()
    return type(one) is type(other) and repr(one) == repr(other)


_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = {
    *(field.name for field in dataclasses.fields(Frame)), "environment_qm_forces", "qm_forces", "baseline_qm_forces",
    "Properties", "Lattice", "pbc",
}  # fmt: skip
