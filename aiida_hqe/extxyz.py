"""Frames in extended XYZ: columns ``species pos region mm_charge core`` and labels; the round trip is bit-identical.

Numbers are written with `repr`, the shortest text that reads back to the same double. QM rows come first, then MM rows;
a file may interleave them. A force column holds the forces on the QM atoms in QM rows and those on the point charges in
MM rows; where a frame has only one of the two, a key of the comment line says so (``environment_mm_forces=F``: the MM
rows of ``environment_forces`` hold no label). Text is written in double quotes, which is how it stays text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from aiida_hqe.errors import InputError
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Floats, Frame, Frames, Scalar
from aiida_hqe.writing import replacing

_WIDTHS = {"species": 1, "pos": 3, "region": 1, "mm_charge": 1, "core": 1, **dict.fromkeys(FORCES, 3)}
_QM_FLAGS = tuple(name.replace("forces", "qm_forces") for name in FORCES)
_IGNORED_COLUMNS = {
    "Z",
    "numbers",
    "tags",
    "masses",
    "momenta",
    "velo",
    "magmoms",
    "initial_magmoms",
    "initial_charges",
}
_IGNORED_KEYS = {"Properties", "Lattice", "pbc"}
_DEFAULT_PROPERTIES = "species:S:1:pos:R:3"

_ENTRY = re.compile(r'\s*([^\s="]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]+)))?(?=\s|$)')
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|inf|NaN|Inf|NAN|INF)")
_TRUTH = {"T": True, "True": True, "true": True, "F": False, "False": False, "false": False}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}


Columns = dict[str, list[list[str]]]
"""The words of each column, (n_rows, width)."""


class _Value(NamedTuple):
    text: str
    quoted: bool


class _Place(NamedTuple):
    """Where in a file something was read: it makes the errors."""

    path: Path
    line: int

    def row(self, index: int) -> _Place:
        """The place of row `index` below this comment line."""
        return self._replace(line=self.line + 1 + index)

    def error(self, field: str, message: str) -> InputError:
        return InputError(f"{self.path}:{self.line}: {field}: {message}", field)


def read_frames(path: str | Path) -> Frames:
    """Read every frame of an extended XYZ file.

    Raises
    ------
    InputError
        Something in the file is wrong or missing, or two QM atoms overlap; the message starts ``file:line: field:``.
    """
    path = Path(path)
    lines = _text(path).rstrip().split("\n")
    frames = []
    at = _next_frame(lines, 0)
    while at < len(lines):
        n_atoms = _count(_Place(path, at + 1), lines[at], len(lines) - at - 2)
        frames.append(_read_frame(_Place(path, at + 2), lines[at + 1], lines[at + 2 : at + 2 + n_atoms]))
        at = _next_frame(lines, at + 2 + n_atoms)
    if not frames:
        raise _Place(path, 1).error("frames", "at least one frame was expected (got an empty file): check the path")
    return Frames(frames)


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write frames as extended XYZ, whole or not at all; :func:`read_frames` gives them back bit-identical."""
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for frame in frames:
            file.writelines(_lines(frame))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: a readable file was expected (got {error.strerror}): check the path") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _Place(path, data.count(b"\n", 0, error.start) + 1)
        got = f"byte {data[error.start]:#x}"
        raise place.error("text", f"UTF-8 was expected (got {got}): is this an XYZ file?") from error


def _next_frame(lines: list[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _count(place: _Place, line: str, available: int) -> int:
    text = line.strip()
    if not _INTEGER.fullmatch(text) or int(text) < 1:
        raise place.error("count", f"the number of atoms of a frame was expected (got {_short(text)}): repair it")
    if int(text) > available:
        got = f"{max(available, 0)} lines"
        raise place.error("count", f"{text} atoms were expected (got {got}): the file is truncated; restore it")
    return int(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


# -- reading one frame ------------------------------------------------------------------------------------------------


def _read_frame(place: _Place, comment: str, rows: list[str]) -> Frame:
    entries = _entries(place, comment)
    columns = _columns(place, entries, rows)
    qm = _regions(place, columns)
    fields: dict[str, Any] = {
        "charge": _integer(place, entries, "charge", "the total charge of the QM region in e, such as charge=0"),
        "spin": _integer(place, entries, "spin", "2S, the number of unpaired electrons, such as spin=0"),
        **{name: _energy(place, entries, name) for name in ENERGIES if name in entries},
        **_configuration(place, columns, qm),
        **_labels(place, entries, columns, qm),
    }
    used = {*_IGNORED_KEYS, "charge", "spin", *ENERGIES, *_QM_FLAGS, *MM_FORCES}
    fields["info"] = {key: _scalar(place, key, value) for key, value in entries.items() if key not in used}
    try:
        frame = Frame(**fields)
        frame.check_qm_geometry()
    except InputError as error:
        raise place.error(error.key or "frame", str(error)) from error
    return frame


def _entries(place: _Place, comment: str) -> dict[str, _Value]:
    entries: dict[str, _Value] = {}
    at, end = 0, len(comment.rstrip())
    while at < end:
        found = _ENTRY.match(comment, at, end)
        if found is None:
            got = _short(comment[at:end].strip())
            raise place.error("comment", f'key=value or key="text" was expected (got {got}): quote the text')
        key, quoted, bare = found.groups()
        if key in entries:
            raise place.error(_short(key), "one value was expected (got two): remove one")
        entries[key] = _Value(bare or "T", quoted=False) if quoted is None else _Value(quoted, quoted=True)
        at = found.end()
    return entries


def _scalar(place: _Place, key: str, value: _Value) -> Scalar:
    if value.quoted:
        return re.sub(r"\\(.)", lambda found: _UNESCAPES.get(found[1], found[0]), value.text, flags=re.DOTALL)
    if value.text in _TRUTH:
        return _TRUTH[value.text]
    if _INTEGER.fullmatch(value.text):
        return int(value.text)
    return float(value.text) if _NUMBER.fullmatch(value.text) else value.text


def _integer(place: _Place, entries: dict[str, _Value], key: str, meaning: str) -> int:
    if key not in entries:
        raise place.error(key, f"{meaning} was expected in the comment line (got nothing): add it")
    text = entries[key].text
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    if not abs(number) < 1e6 or number != int(number):
        raise place.error(key, f"{meaning} was expected (got {_short(text)}): correct it")
    return int(number)


def _energy(place: _Place, entries: dict[str, _Value], key: str) -> float:
    text = entries[key].text
    if not _NUMBER.fullmatch(text) or not np.isfinite(float(text)):
        raise place.error(key, f"a finite energy in eV was expected (got {_short(text)}): correct or remove it")
    return float(text)


def _flag(place: _Place, entries: dict[str, _Value], key: str) -> bool:
    text = entries[key].text if key in entries else "T"
    if text not in _TRUTH:
        raise place.error(key, f"T or F was expected (got {_short(text)}): F says that these rows hold no label")
    return _TRUTH[text]


def _layout(place: _Place, properties: str) -> Iterator[tuple[str, int]]:
    """Name and width of each column that ``Properties`` declares."""
    parts = properties.split(":")
    if len(parts) % 3:
        raise place.error("Properties", f"name:type:width triples were expected (got {_short(properties)}): correct it")
    for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        known = name in _WIDTHS
        if not known and name not in _IGNORED_COLUMNS:
            near = difflib.get_close_matches(name, _WIDTHS, n=1)
            remedy = f"did you mean {near[0]}?" if near else "remove it"
            expected = f"columns among {' '.join(_WIDTHS)}"
            raise place.error("Properties", f"{expected} were expected (got {_short(name)}): {remedy}")
        if kind not in {"S", "R", "I", "L"} or width not in ({str(_WIDTHS[name])} if known else {"1", "3"}):
            expected, got = f"{name} of width {_WIDTHS.get(name, 1)}", _short(f"{name}:{kind}:{width}")
            raise place.error("Properties", f"{expected} was expected (got {got}): correct it")
        yield name, int(width)


def _columns(place: _Place, entries: dict[str, _Value], rows: list[str]) -> Columns:
    """The words of each column, (n_rows, width)."""
    layout = list(_layout(place, entries.get("Properties", _Value(_DEFAULT_PROPERTIES, quoted=False)).text))
    names = [name for name, _ in layout]
    if len(set(names)) < len(names) or not {"species", "pos"} <= set(names):
        expected = "species and pos, and each column once,"
        raise place.error("Properties", f"{expected} were expected (got {' '.join(names)}): correct it")
    total = sum(width for _, width in layout)
    words = [row.split() for row in rows]
    for index, row in enumerate(words):
        if len(row) != total:
            expected = f"{total} columns ({' '.join(names)})"
            raise place.row(index).error("row", f"{expected} were expected (got {len(row)}): complete the row")
    columns, at = {}, 0
    for name, width in layout:
        columns[name] = [row[at : at + width] for row in words]
        at += width
    return columns


def _regions(place: _Place, columns: Columns) -> np.ndarray:
    """Which rows are QM atoms, (n_rows,)."""
    if "region" not in columns:
        return np.ones(len(columns["pos"]), dtype=bool)
    words = [word for (word,) in columns["region"]]
    for index, word in enumerate(words):
        if word not in {"QM", "MM"}:
            raise place.row(index).error("region", f"QM or MM was expected (got {_short(word)}): correct it")
    return np.array([word == "QM" for word in words])


def _configuration(place: _Place, columns: Columns, qm: np.ndarray) -> dict[str, Any]:
    numbers, positions = _species(place, columns["species"]), _floats(place, "pos", columns["pos"])
    zeros = [["0"]] * len(qm)
    charges = _floats(place, "mm_charge", columns.get("mm_charge", zeros))[:, 0]
    core = _floats(place, "core", columns.get("core", zeros))[:, 0]
    _require(place, "mm_charge", ~qm | (charges == 0), charges, "0 was expected on a QM row")
    _require(place, "core", qm | (core == 0), core, "0 was expected on an MM row, since cores lie inside the QM region")
    _require(place, "core", (core >= 0) & (core < 1e6) & (core % 1 == 0), core, "0 or a core's number was expected")
    return {
        "numbers": numbers[qm], "positions": positions[qm], "core": core[qm].astype(np.int64),
        "mm_numbers": numbers[~qm], "mm_positions": positions[~qm], "mm_charges": charges[~qm],
    }  # fmt: skip


def _labels(place: _Place, entries: dict[str, _Value], columns: Columns, qm: np.ndarray) -> dict[str, Floats]:
    labels = {}
    for name, qm_flag, mm_name in zip(FORCES, _QM_FLAGS, MM_FORCES, strict=True):
        has_qm, has_mm = _flag(place, entries, qm_flag), _flag(place, entries, mm_name)
        if name in columns:
            forces = _floats(place, name, columns[name])
            labels.update({name: forces[qm]} if has_qm else {})
            labels.update({mm_name: forces[~qm]} if has_mm else {})
    return labels


def _species(place: _Place, column: list[list[str]]) -> np.ndarray:
    for index, (word,) in enumerate(column):
        if word not in atomic_numbers:
            raise place.row(index).error("species", f"a chemical symbol was expected (got {_short(word)}): correct it")
    return np.array([atomic_numbers[word] for (word,) in column], dtype=np.int64)


def _floats(place: _Place, name: str, column: list[list[str]]) -> Floats:
    """The numbers of a column, (n_rows, width)."""
    try:
        values = np.array([[float(word) for word in row] for row in column])
    except ValueError:
        values = np.array([[float(word) if _NUMBER.fullmatch(word) else np.nan for word in row] for row in column])
    for index in np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist():
        got = _short(" ".join(column[index]))
        raise place.row(index).error(name, f"finite numbers were expected (got {got}): correct them")
    return values


def _require(place: _Place, name: str, good: np.ndarray, values: Floats, expected: str) -> None:
    for index in np.flatnonzero(~good).tolist():
        raise place.row(index).error(name, f"{expected} (got {values[index]:g}): correct it")


# -- writing one frame ------------------------------------------------------------------------------------------------


def _lines(frame: Frame) -> Iterator[str]:
    pairs = zip(FORCES, MM_FORCES, strict=True)
    labels = [pair for pair in pairs if any(getattr(frame, name) is not None for name in pair)]
    properties = "species:S:1:pos:R:3:region:S:1:mm_charge:R:1:core:I:1"
    properties += "".join(f":{name}:R:3" for name, _ in labels)
    yield f"{frame.n_qm + frame.n_mm}\n"
    yield " ".join([f"Properties={properties}", *_comment(frame, labels)]) + "\n"
    forces = [_rows(getattr(frame, name), frame.n_qm) for name, _ in labels]
    sites = (frame.numbers.tolist(), frame.positions.tolist(), frame.core.tolist())
    for row in zip(*sites, *forces, strict=True):
        number, (x, y, z), core, *vectors = row
        yield f"{chemical_symbols[number]} {x!r} {y!r} {z!r} QM 0 {core}{_join(vectors)}\n"
    forces = [_rows(getattr(frame, name), frame.n_mm) for _, name in labels]
    sites = (frame.mm_numbers.tolist(), frame.mm_positions.tolist(), frame.mm_charges.tolist())
    for row in zip(*sites, *forces, strict=True):
        number, (x, y, z), charge, *vectors = row
        yield f"{chemical_symbols[number]} {x!r} {y!r} {z!r} MM {charge!r} 0{_join(vectors)}\n"


def _comment(frame: Frame, labels: list[tuple[str, str]]) -> Iterator[str]:
    yield f"charge={frame.charge} spin={frame.spin}"
    for name in ENERGIES:
        if getattr(frame, name) is not None:
            yield f"{name}={getattr(frame, name)!r}"
    for name, mm_name in labels:
        if getattr(frame, name) is None:
            yield f"{name.replace('forces', 'qm_forces')}=F"
        if getattr(frame, mm_name) is None:
            yield f"{mm_name}=F"
    for key, value in frame.info.items():
        yield f"{key}={_word(value)}"


def _word(value: Scalar) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return '"' + "".join(_ESCAPES.get(letter, letter) for letter in value) + '"'
    return repr(value)


def _rows(forces: Floats | None, n_rows: int) -> list[list[float]]:
    return [[0.0, 0.0, 0.0]] * n_rows if forces is None else forces.tolist()


def _join(vectors: list[list[float]]) -> str:
    return "".join(f" {x!r} {y!r} {z!r}" for x, y, z in vectors)
