"""`Assembly` on disk: bit-identical, validated when read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.qmmm.assembly import Assembly


def test_an_assembly_comes_back_bit_identical_from_equal_bytes(methanol: Assembly, tmp_path: Path) -> None:
    moving = methanol.replace(velocities=np.random.default_rng(0).normal(size=(methanol.n_atoms, 3)))
    moving.write(tmp_path / "one.h5")
    back = Assembly.read(tmp_path / "one.h5")
    back.write(tmp_path / "two.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    for field in dataclasses.fields(Assembly):
        one, two = getattr(moving, field.name), getattr(back, field.name)
        assert type(one) is type(two)
        assert np.array_equal(one, two)
    assert back.frame().hash == moving.frame().hash


def test_a_state_without_box_and_velocities_comes_back_without(methanol: Assembly, tmp_path: Path) -> None:
    methanol.replace(box=None).write(tmp_path / "a.h5")
    back = Assembly.read(tmp_path / "a.h5")
    assert back.box is None
    assert back.velocities is None


def test_missing_foreign_and_truncated_files_are_told_apart(methanol: Assembly, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(InputError, match="no file"):
        Assembly.read(path)
    methanol.write(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(IntegrityError, match="write it again"):
        Assembly.read(path)
    with h5py.File(path, "w") as file:
        file["positions"] = [1.0]
    with pytest.raises(IntegrityError, match="hqe-assembly-1"):
        Assembly.read(path)


def test_a_damaged_array_is_refused_when_read(methanol: Assembly, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    methanol.write(path)
    with h5py.File(path, "r+") as file:
        file["positions"][7, 1] = np.nan
    with pytest.raises(IntegrityError, match="positions must be finite"):
        Assembly.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((3, 3))}, "positions must be finite and of shape"),
        ({"qm_atoms": np.array([0, 1, 2, 3, 4, 99999])}, "QM atoms between 0 and"),
        ({"group": np.zeros(3)}, "group must be"),
        ({"core": np.zeros(5)}, "core must be"),
    ],
)
def test_each_field_is_validated(methanol: Assembly, changes: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        methanol.replace(**changes)
