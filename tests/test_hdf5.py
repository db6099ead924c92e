"""HDF5 gives back every bit, equal data are equal bytes, and damage anywhere is found."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from frame_strategies import REALS, frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aiida_hqe.errors import HQEError, InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.hdf5 import read_frames, read_predictions, write_frames, write_predictions
from aiida_hqe.predictions import Prediction

QUICK = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "frames.h5"


def _batch() -> Frames:
    rng = np.random.default_rng(0)
    return Frames(
        Frame(
            numbers=[8, 1, 1], positions=rng.normal(size=(3, 3)), charge=0, spin=0, core=[1, 0, 0],
            mm_numbers=[8] * n_mm, mm_positions=rng.normal(size=(n_mm, 3)), mm_charges=rng.normal(size=n_mm),
            environment_energy=-1.5 if n_mm else None, environment_mm_forces=rng.normal(size=(n_mm, 3)), info={"step": n_mm},
        )
        for n_mm in (0, 3, 1)
    )  # fmt: skip


@st.composite
def predictions(draw: st.DrawFn) -> list[Prediction]:
    members = draw(st.integers(1, 3))

    def reals(*shape: int) -> np.ndarray:
        return draw(arrays(np.float64, shape, elements=REALS))

    return [
        Prediction(
            frame=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
            environment_energies=reals(members),
            environment_forces=reals(members, n_qm, 3),
            environment_mm_forces=reals(members, n_mm, 3),
            energies=reals(members),
            forces=reals(members, n_qm, 3),
            mm_forces=reals(members, n_mm, 3),
        )
        for n_qm, n_mm in draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=3))
    ]


@QUICK
@given(batch=st.lists(frames(), max_size=3))
def test_the_round_trip_of_frames_is_bit_identical(path: Path, batch: list[Frame]) -> None:
    write_frames(path, batch)
    assert list(read_frames(path)) == batch


@QUICK
@given(batch=predictions())
def test_the_round_trip_of_predictions_is_bit_identical(path: Path, batch: list[Prediction]) -> None:
    write_predictions(path, batch)
    again = read_predictions(path)
    assert len(again) == len(batch)
    for one, other in zip(batch, again, strict=True):
        assert one.frame == other.frame
        for name in (
            "environment_energies",
            "environment_forces",
            "environment_mm_forces",
            "energies",
            "forces",
            "mm_forces",
        ):
            assert getattr(one, name).shape == getattr(other, name).shape
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_equal_frames_are_equal_bytes(path: Path) -> None:
    _batch().write(path)
    first = path.read_bytes()
    time.sleep(1.1)  # HDF5 counts time in seconds
    Frames.read(path).write(path)
    assert path.read_bytes() == first


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    _batch().write(path)
    whole, cut = path.read_bytes(), path.with_name("cut.h5")
    for size in {*range(0, len(whole), 97), 1, 8, len(whole) - 1}:
        cut.write_bytes(whole[:size])
        with pytest.raises((InputError, IntegrityError)) as caught:
            read_frames(cut)
        assert str(cut) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_never_changes_a_frame_unnoticed(path: Path) -> None:
    _batch().write(path)
    whole, flipped = path.read_bytes(), path.with_name("flipped.h5")
    found = 0
    for at in range(0, len(whole), 41):
        flipped.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            assert list(read_frames(flipped)) == list(_batch())
        except HQEError:
            found += 1
    assert found > 20


def test_a_flipped_number_is_found_by_the_checksum(path: Path) -> None:
    _batch().write(path)
    with h5py.File(path, "r+") as file:
        file["positions"][0, 0] += 1e-9
    with pytest.raises(IntegrityError, match="checksum"):
        read_frames(path)


def test_a_damaged_name_of_a_dataset_is_damage(path: Path) -> None:
    _batch().write(path)
    path.write_bytes(path.read_bytes().replace(b"mm_charges\0", b"mm\xffcharges\0"))
    with pytest.raises(IntegrityError):
        read_frames(path)


def test_something_else_is_bad_input_not_damage(path: Path) -> None:
    for content in (b"", b"5\ncharge=0\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="an HDF5 file of aiida-hqe frames was expected"):
            read_frames(path)
    with h5py.File(path, "w") as file:
        file["positions"] = np.zeros(3)
    with pytest.raises(InputError, match="a file of aiida-hqe frames was expected"):
        read_frames(path)
    write_predictions(path, [])
    with pytest.raises(InputError, match="aiida-hqe predictions"):
        read_frames(path)
    _batch().write(path)
    with pytest.raises(InputError, match="aiida-hqe frames"):
        read_predictions(path)
    with pytest.raises(InputError, match="check the path"):
        read_frames(path.with_name("none.h5"))


def test_a_later_version_is_bad_input(path: Path) -> None:
    _batch().write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(InputError, match="version 1"):
        read_frames(path)


def test_a_dataset_that_claims_terabytes_is_refused_unread(path: Path) -> None:
    _batch().write(path)
    with h5py.File(path, "r+") as file:
        del file["mm_positions"]
        file.create_dataset("mm_positions", shape=(10**12, 3), dtype=float, chunks=(1000, 3))
    with pytest.raises(IntegrityError, match="larger than the file"):
        read_frames(path)


def test_members_must_agree_in_number(path: Path) -> None:
    one, other = (
        Prediction(
            frame="0" * 64, environment_energies=np.zeros(k), energies=np.zeros(k),
            environment_forces=np.zeros((k, 1, 3)), environment_mm_forces=np.zeros((k, 0, 3)),
            forces=np.zeros((k, 1, 3)), mm_forces=np.zeros((k, 0, 3)),
        )
        for k in (2, 3)
    )  # fmt: skip
    with pytest.raises(InputError, match="2 and 3 members"):
        write_predictions(path, [one, other])


def test_writing_leaves_no_other_file(path: Path) -> None:
    _batch().write(path)
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    shutil.rmtree(path.parent)
    with pytest.raises(InputError, match="a place to write"):
        _batch().write(path)
