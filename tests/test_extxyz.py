"""Extended XYZ gives back every bit, interoperates with ASE, and every fault in a file is one line about that line."""

from __future__ import annotations

import itertools
from pathlib import Path

import ase.io
import numpy as np
import pytest
from frame_strategies import frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiida_hqe.errors import InputError
from aiida_hqe.extxyz import read_frames, write_frames
from aiida_hqe.frames import FORCES, MM_FORCES, Frame, Frames

QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

PROPERTIES = "Properties=species:S:1:pos:R:3:region:S:1:mm_charge:R:1:core:I:1:environment_forces:R:3"
FILE = f"""\
5
{PROPERTIES} charge=0 spin=0 environment_energy=-2076.5 note="a b"
O 0.0 0.0 0.115 QM 0 1 0.1 0.2 0.3
O 0.0 0.0 3.0 MM -0.8 0 0.7 0.8 0.9
H 0.0 0.754 -0.459 QM 0 1 0.4 0.5 0.6
X 0.0 0.8 3.5 MM 0.8 0 1.0 1.1 1.2
H 0.0 -0.754 -0.459 QM 0 0 0.0 0.0 0.0
"""

JUNK = [b"\n", b'"', b"=", b" ", b"\\", b"9" * 30, b"nan", b":", b"1e400", b"-", b"QM", b"0"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frames.xyz"


def _read(path: Path, text: str) -> Frames:
    path.write_text(text)
    return read_frames(path)


@QUICK
@given(batch=st.lists(frames(), min_size=1, max_size=3))
def test_the_round_trip_is_bit_identical(path: Path, batch: list[Frame]) -> None:
    write_frames(path, batch)
    assert list(read_frames(path)) == batch


def test_every_combination_of_labels_returns(path: Path) -> None:
    for n_mm in (0, 2):
        base = Frame(
            numbers=[1, 1], positions=[[0, 0, 0], [0, 0, 0.74]], charge=0, spin=0, mm_numbers=[8] * n_mm,
            mm_positions=np.ones((n_mm, 3)) * 3, mm_charges=[-0.8] * n_mm,
        )  # fmt: skip
        names = [*FORCES, *MM_FORCES]
        batch = [
            base.replace(**{name: np.full((2 if name in FORCES else n_mm, 3), 1 / 3) for name in chosen})
            for size in range(7)
            for chosen in itertools.combinations(names, size)
        ]
        write_frames(path, batch)
        assert list(read_frames(path)) == batch


def test_interleaved_rows_are_sorted_into_regions(path: Path) -> None:
    (frame,) = _read(path, FILE)
    assert frame.numbers.tolist() == [8, 1, 1]
    assert frame.core.tolist() == [1, 1, 0]
    assert frame.mm_numbers.tolist() == [8, 0]
    assert frame.mm_charges.tolist() == [-0.8, 0.8]
    assert frame.environment_forces.tolist() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.0, 0.0, 0.0]]
    assert frame.environment_mm_forces.tolist() == [[0.7, 0.8, 0.9], [1.0, 1.1, 1.2]]
    assert (frame.environment_energy, frame.info) == (-2076.5, {"note": "a b"})


def test_absent_columns_mean_a_bare_molecule(path: Path) -> None:
    (frame,) = _read(path, "2\ncharge=0 spin=0\nH 0 0 0\nH 0 0 0.74\n\n\n")
    assert (frame.n_qm, frame.n_mm, frame.n_cores) == (2, 0, 0)


def test_ase_reads_what_we_write(path: Path) -> None:
    (frame,) = _read(path, FILE)
    write_frames(
        path, [frame.replace(energy=-2077.25, forces=frame.environment_forces, mm_forces=frame.environment_mm_forces)]
    )
    atoms = ase.io.read(path)
    assert atoms.get_chemical_symbols() == ["O", "H", "H", "O", "X"]
    assert atoms.info["environment_energy"] == -2076.5
    assert atoms.info["note"] == "a b"
    assert atoms.get_potential_energy() == -2077.25
    assert atoms.arrays["mm_charge"].tolist() == [0, 0, 0, -0.8, 0.8]
    assert atoms.get_forces()[3].tolist() == [0.7, 0.8, 0.9]


def test_we_read_what_ase_writes(path: Path) -> None:
    (frame,) = _read(path, FILE)
    atoms = ase.io.read(path)
    atoms.set_cell([20, 20, 20])
    atoms.pbc = True
    ase.io.write(path, atoms)
    (again,) = read_frames(path)
    assert again.info == frame.info
    np.testing.assert_array_equal(again.numbers, frame.numbers)
    np.testing.assert_allclose(again.positions, frame.positions, atol=1e-8)
    np.testing.assert_allclose(again.environment_mm_forces, frame.environment_mm_forces, atol=1e-8)


def test_text_that_looks_like_a_number_stays_text(path: Path) -> None:
    (frame,) = _read(path, FILE)
    info = {"a": "1.5", "b": "T", "c": "", "d": "inf", "e": 1.5, "f": True, "g": 2}
    write_frames(path, [frame.replace(info=info)])
    assert read_frames(path)[0].info == info
    (bare,) = _read(path, FILE.replace('note="a b"', "a=word b=7 c=7.0 d=F e"))
    assert bare.info == {"a": "word", "b": 7, "c": 7.0, "d": False, "e": True}


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        (FILE, "", 1, "frames"),
        (FILE, "\n \n", 1, "frames"),
        ("5\n", "five\n", 1, "count"),
        ("5\n", "0\n", 1, "count"),
        ("5\n", "-5\n", 1, "count"),
        ("5\n", "6\n", 1, "count"),
        ("5\n", "999999999999999999\n", 1, "count"),
        ("5\n", "9" * 5000 + "\n", 1, "count"),
        ("5\n", "4\n", 2, "spin"),
        ("H 0.0 -0.754 -0.459 QM 0 0 0.0 0.0 0.0\n", "", 1, "count"),
        ("-0.459 QM 0 0 0.0 0.0 0.0\n", "", 7, "row"),
        ("0.115", "nan", 3, "pos"),
        ("0.115", "1e999", 3, "pos"),
        ("0.115", "0,115", 3, "pos"),
        ("X 0.0", "Xx 0.0", 6, "species"),
        ("3.0 MM", "3.0 mm", 4, "region"),
        ("-0.8 0", "- 0", 4, "mm_charge"),
        ("QM 0 1 0.4", "QM 0.1 1 0.4", 5, "mm_charge"),
        ("QM 0 1 0.4", "QM 0 1.5 0.4", 5, "core"),
        ("QM 0 1 0.4", "QM 0 -1 0.4", 5, "core"),
        ("QM 0 1 0.4", "QM 0 3 0.4", 2, "core"),
        ("MM 0.8 0", "MM 0.8 1", 6, "core"),
        ("0.7 0.8 0.9", "0.7 NaN 0.9", 4, "environment_forces"),
        ("charge=0 ", "", 2, "charge"),
        ("spin=0 ", "", 2, "spin"),
        ("spin=0 ", "spin=1 ", 2, "spin"),
        ("spin=0 ", "spin=0.5 ", 2, "spin"),
        ("charge=0 ", "charge=neutral ", 2, "charge"),
        ("charge=0 ", "charge=0 charge=0 ", 2, "'charge'"),
        ("-2076.5", "inf", 2, "environment_energy"),
        ("-2076.5", '""', 2, "environment_energy"),
        ('note="a b"', 'note="a b', 2, "comment"),
        ('note="a b"', "note=", 2, "comment"),
        ('note="a b"', "note=nan", 2, "info"),
        ('note="a b"', "two-words=1", 2, "info"),
        ('note="a b"', "environment_mm_forces=maybe", 2, "environment_mm_forces"),
        ("mm_charge:R:1", "mmcharge:R:1", 2, "Properties"),
        ("mm_charge:R:1", "mm_charge:R:2", 2, "Properties"),
        ("mm_charge:R:1", "mm_charge:R", 2, "Properties"),
        ("mm_charge:R:1", "pos:R:3", 2, "Properties"),
        ("pos:R:3", "pos:R:99999999999", 2, "Properties"),
        ("0.0 0.754 -0.459", "0.0 0.0 0.2", 2, "positions"),
        ("QM 0 1", "MM 0 1", 3, "core"),
        (FILE, "1\nProperties=species:S:1:pos:R:3:region:S:1 charge=0 spin=0\nO 0 0 0 MM\n", 2, "numbers"),
    ],
)
def test_a_fault_is_named_with_its_line_and_field(path: Path, old: str, new: str, line: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        _read(path, FILE.replace(old, new))
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: {field}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 250


def test_a_misspelt_column_is_recognised(path: Path) -> None:
    with pytest.raises(InputError, match=r"got 'mmcharge'\): did you mean mm_charge\?"):
        _read(path, FILE.replace("mm_charge", "mmcharge"))


def test_a_charge_on_an_atom_is_left_to_the_label(path: Path) -> None:
    (frame,) = _read(path, FILE.replace("O 0.0 0.0 3.0", "O 0.0 0.0 0.1"))
    with pytest.raises(InputError, match="point charge 0"):
        frame.check_geometry()


def test_bytes_that_are_no_text_are_bad_input(path: Path) -> None:
    path.write_bytes(FILE.encode().replace(b"a b", b"a \xff"))
    with pytest.raises(InputError, match=":2: text: UTF-8 was expected"):
        read_frames(path)


def test_windows_line_ends_are_read(path: Path) -> None:
    path.write_bytes(FILE.replace("\n", "\r\n").encode())
    assert list(read_frames(path)) == list(_read(path.with_name("unix.xyz"), FILE))


@settings(QUICK, max_examples=300)
@given(data=st.data())
def test_no_mutation_of_a_file_escapes_as_a_traceback(path: Path, data: st.DataObject) -> None:
    raw = bytearray(FILE.encode() * 2)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        stop = data.draw(st.integers(start, min(len(raw), start + 12)))
        raw[start:stop] = data.draw(st.binary(max_size=6) | st.sampled_from(JUNK))
    path.write_bytes(bytes(raw))
    message = f"{path}:"
    try:
        read_frames(path)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}:")
    assert "\n" not in message


@settings(QUICK, max_examples=200)
@given(text=st.text(max_size=60))
def test_no_text_escapes_as_a_traceback(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError):
        read_frames(path)


def test_a_failed_write_leaves_the_old_file(path: Path) -> None:
    path.write_text("old")
    with pytest.raises(AttributeError):
        write_frames(path, [None])  # type: ignore[list-item]
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "old"
    with pytest.raises(InputError, match="a place to write"):
        write_frames(path / "below" / "a.file.xyz", [])
