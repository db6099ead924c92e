"""HDF5 gives back every bit, equal data are equal bytes, and damage anywhere is found."""

from __future__ import annotations

import dataclasses
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
from aiida_hqe.hdf5 import (
    _checksum,
    read_frames,
    read_predictions,
    smallest,
    write_frames,
    write_frames_in_parts,
    write_predictions,
)
from aiida_hqe.predictions import Prediction, Residuals
from aiida_hqe.residuals import holds_residuals, read_residuals, write_residuals

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
@given(batch=st.lists(frames(), max_size=4), cuts=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_frames_that_come_in_parts_make_the_same_bytes(path: Path, batch: list[Frame], cuts: tuple[int, int]) -> None:
    first, last = sorted(cuts)
    write_frames(path, batch)
    whole = path.read_bytes()
    write_frames_in_parts(path, [batch[:first], batch[first:last], batch[last:]])
    assert path.read_bytes() == whole
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_no_parts_are_no_frames(path: Path) -> None:
    write_frames_in_parts(path, [])
    assert len(read_frames(path)) == 0
    with pytest.raises(InputError, match="a place to write"):
        write_frames_in_parts(path.parent / "none" / "frames.h5", [])


@QUICK
@given(batch=predictions(), twice=st.booleans())
def test_predictions_come_back_with_forces_in_single_precision(
    path: Path, batch: list[Prediction], twice: bool
) -> None:
    if twice:  # a committee that never learned the target says the same at both levels
        batch = [
            dataclasses.replace(
                one,
                energies=one.environment_energies,
                forces=one.environment_forces,
                mm_forces=one.environment_mm_forces,
            )
            for one in batch
        ]
    write_predictions(path, batch)
    again = read_predictions(path)
    assert len(again) == len(batch)
    for one, other in zip(batch, again, strict=True):
        assert one.frame == other.frame
        for name in ("environment_energies", "energies"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("environment_forces", "environment_mm_forces", "forces", "mm_forces"):
            assert getattr(other, name).dtype == np.float64
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-7, atol=1e-37, strict=True)


def said(n_frames: int, shift: float = 0.0) -> list[Prediction]:
    """Four members about molecules of six atoms among fifty charges; the target differs from the environment by `shift`."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(n_frames):
        energies, forces, mm_forces = rng.normal(size=4), rng.normal(size=(4, 6, 3)), rng.normal(size=(4, 50, 3))
        environment = {
            "environment_energies": energies,
            "environment_forces": forces,
            "environment_mm_forces": mm_forces,
        }
        target = {"energies": energies + shift, "forces": forces + shift, "mm_forces": mm_forces + shift}
        found.append(Prediction(frame=f"{number:064x}", **environment, **target))
    return found


def test_a_prediction_takes_a_vector_of_single_precision_for_each_member_and_site_at_each_level_that_differs(
    path: Path,
) -> None:
    sizes = {}
    for name, shift in (("equal", 0.0), ("different", 0.5)):
        write_predictions(path, said(500, shift))
        sizes[name] = path.stat().st_size / 500 / (4 * 56 * 3 * 4)
    assert sizes["equal"] == pytest.approx(1.0, abs=0.1)
    assert sizes["different"] == pytest.approx(2.0, abs=0.1)


def first_version(path: Path, predictions: list[Prediction]) -> None:
    """Predictions as they were written in version 1 of the format: double precision, and everything twice."""
    names = [field.name for field in dataclasses.fields(Prediction) if field.name != "frame"]
    parts = {name: [getattr(one, name) for one in predictions] for name in names}
    stored = {
        name: np.array(values) if "energies" in name else np.concatenate(values, axis=1)
        for name, values in parts.items()
    }
    stored |= {
        "frame": np.array([one.frame.encode() for one in predictions], dtype="S64"),
        "n_members": np.array([predictions[0].n_members]),
        "qm_offsets": np.cumsum([0, *(one.forces.shape[1] for one in predictions)]),
        "mm_offsets": np.cumsum([0, *(one.mm_forces.shape[1] for one in predictions)]),
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {"format": np.bytes_("aiida-hqe predictions"), "version": 1, "checksum": np.bytes_(_checksum(stored))}
        )
        for name, values in stored.items():
            file[name] = values


def test_predictions_of_the_first_version_are_read(path: Path) -> None:
    before = said(3, 0.25)
    first_version(path, before)
    for one, other in zip(before, read_predictions(path), strict=True):
        assert one.frame == other.frame
        for name in ("energies", "forces", "mm_forces", "environment_forces", "environment_mm_forces"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def residuals(energies: bool) -> Residuals:
    rng = np.random.default_rng(1)
    said = {"level": "target", "energy_level": "target" if energies else None, "force_method": "rimp2"}
    few = rng.normal(size=3 if energies else 0)
    return Residuals(
        frames=[f"{number:064x}" for number in range(3)], **said, force_errors=rng.normal(size=3),
        disagreements=rng.normal(size=3), member_errors=rng.normal(size=(3, 4)), energy_errors=few,
        energy_disagreements=few, energies=rng.normal(size=3),
        shown_forces=[np.ones((2, 3)), np.zeros((3, 3))], shown_mm_forces=[np.zeros((0, 3)), np.full((4, 3), 0.5)],
    )  # fmt: skip


@pytest.mark.parametrize("energies", [True, False])
def test_residuals_come_back(path: Path, energies: bool) -> None:
    found = residuals(energies)
    write_residuals(path, found)
    first = path.read_bytes()
    again = read_residuals(path)
    write_residuals(path, again)
    assert path.read_bytes() == first
    for field in dataclasses.fields(Residuals):
        np.testing.assert_equal(getattr(again, field.name), getattr(found, field.name))
    assert holds_residuals(path)
    with pytest.raises(InputError, match="a file of aiida-hqe predictions was expected"):
        read_predictions(path)


def test_damaged_residuals_are_refused(path: Path) -> None:
    write_residuals(path, residuals(True))
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(HQEError):
            (read_residuals if holds_residuals(path) else read_predictions)(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        file["force_errors"][0] += 1.0
    with pytest.raises(IntegrityError, match="checksum"):
        read_residuals(path)


@pytest.mark.parametrize(("value", "bytes_"), [(8, 1), (-1, 1), (127, 1), (128, 2), (40_000, 4), (2**40, 8)])
def test_whole_numbers_take_the_fewest_bytes_that_hold_them(value: int, bytes_: int) -> None:
    assert smallest(np.array([0, value])).itemsize == bytes_
    assert np.array([value]).astype(smallest(np.array([value])))[0] == value


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
