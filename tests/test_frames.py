"""A frame accepts only what can be one QM/MM configuration, and is known by its geometry alone."""

from __future__ import annotations

import numpy as np
import pytest

from aiida_hqe.errors import InputError
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame, Frames

WATER = {
    "numbers": [8, 1, 1],
    "positions": [[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]],
    "charge": 0,
    "spin": 0,
    "core": [1, 1, 0],
    "mm_numbers": [8, 1],
    "mm_positions": [[0.0, 0.0, 3.0], [0.0, 0.8, 3.5]],
    "mm_charges": [-0.8, 0.8],
}


def water(**changes: object) -> Frame:
    return Frame(**{**WATER, **changes})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("numbers", []),
        ("numbers", [8, 1, 0]),
        ("numbers", [8, 1, 119]),
        ("numbers", [8, 1, 1.5]),
        ("numbers", [8, 1, 2**70]),
        ("numbers", [[8], [1, 1]]),
        ("numbers", ["O", "H", "H"]),
        ("positions", [[0.0, 0.0, 0.0]]),
        ("positions", [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        ("positions", np.full((3, 3), np.nan)),
        ("positions", np.full((3, 3), 1j)),
        ("core", [1, 1]),
        ("core", [1, 3, 0]),
        ("core", [-1, 1, 0]),
        ("core", [np.inf, 1, 0]),
        ("mm_numbers", [8]),
        ("mm_numbers", [8, 119]),
        ("mm_numbers", [8, -1]),
        ("mm_positions", [[0.0, 0.0, 3.0]]),
        ("mm_positions", np.full((2, 3), np.inf)),
        ("mm_charges", [np.nan, 0.8]),
        ("charge", 0.5),
        ("charge", True),
        ("spin", "0"),
        *[(name, value) for name in ENERGIES for value in (np.nan, np.inf, "1", True)],
        *[(name, value) for name in FORCES for value in (np.zeros((2, 3)), np.full((3, 3), np.nan))],
        *[(name, value) for name in MM_FORCES for value in (np.zeros((3, 3)), np.full((2, 3), np.inf))],
        ("info", {"two words": 1}),
        ("info", {"energy": 1.0}),
        ("info", {"Properties": "x"}),
        ("info", {"size": float("nan")}),
        ("info", {"size": [1, 2]}),
        ("info", {"size": None}),
        ("info", {"size": 2**63}),
        ("info", {"text": "\ud800"}),
    ],
)
def test_a_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        water(**{field: value})
    assert caught.value.key == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("charge", "spin"), [(0, 1), (1, 0), (0, -2), (0, 12), (10, 0), (11, 0)])
def test_charge_and_spin_must_fit_the_electrons(charge: int, spin: int) -> None:
    with pytest.raises(InputError, match="electrons"):
        water(charge=charge, spin=spin)


@pytest.mark.parametrize(("charge", "spin"), [(0, 0), (0, 2), (1, 1), (-1, 1), (8, 2)])
def test_charge_and_spin_that_fit_are_accepted(charge: int, spin: int) -> None:
    assert water(charge=np.int64(charge), spin=spin).charge == charge


def test_arrays_are_copied_and_cannot_be_written() -> None:
    positions = np.array(WATER["positions"])
    frame = water(positions=positions)
    positions[0] = 9.0
    assert frame.positions[0, 2] == 0.115
    with pytest.raises(ValueError, match="read-only"):
        frame.positions[0] = 0.0


def test_numpy_scalars_become_plain_ones() -> None:
    frame = water(
        energy=np.float32(1.5), info={"a": np.float64(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.str_("x")}
    )
    assert [type(value) for value in (frame.energy, *frame.info.values())] == [float, float, int, bool, str]


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": [8, 1, 9], "charge": 0},
        {"positions": np.array(WATER["positions"]) + 1e-12},
        {"charge": 2},
        {"spin": 2},
        {"core": [1, 0, 0]},
        {"mm_numbers": [8, 0]},
        {"mm_positions": [[0.0, 0.0, 3.0], [0.0, 0.8, np.nextafter(3.5, 4)]]},
        {"mm_charges": [-0.8, 0.8000000001]},
    ],
)
def test_the_hash_depends_on_every_field_of_the_configuration(change: dict[str, object]) -> None:
    assert water(**change).hash != water().hash


def test_the_hash_ignores_labels_and_info_and_the_sign_of_zero() -> None:
    labels = {
        **dict.fromkeys(ENERGIES, 1.0),
        **dict.fromkeys(FORCES, np.ones((3, 3))),
        **dict.fromkeys(MM_FORCES, np.ones((2, 3))),
    }
    labelled = water(**labels, info={"step": 1})
    assert labelled.hash == water().hash == labelled.unlabelled().hash
    assert all(getattr(labelled.unlabelled(), name) is None for name in labels)
    assert water(positions=np.array(WATER["positions"]) * [-1, 1, 1]).hash == water().hash


def test_frames_are_equal_only_when_every_bit_is() -> None:
    assert water() == water()
    assert water(energy=0.0) != water(energy=-0.0)
    assert water(energy=0.0) != water()
    assert water(info={"a": True}) != water(info={"a": 1})
    assert water(positions=np.array(WATER["positions"]) * [-1, 1, 1]) != water()
    assert water() != "water"


def test_overlapping_atoms_and_charges_are_found() -> None:
    water().check_geometry()
    with pytest.raises(InputError, match="QM atoms 0 and 2 overlap"):
        water(positions=[[0, 0, 0], [0, 1, 0], [0, 0, 0.1]]).check_qm_geometry()
    on_top = water(mm_positions=[[0, 0, 3.0], [0, 0, 0.1]])
    on_top.check_qm_geometry()
    with pytest.raises(InputError, match="point charge 1 lies on QM atom 0"):
        on_top.check_geometry()
    water(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[]).check_geometry()


def test_a_coordinate_or_a_charge_beyond_all_reason_is_refused_before_anything_is_computed() -> None:
    for far in (1e6, -1e200):
        with pytest.raises(InputError, match="within 100000 angstrom of the origin"):
            water(positions=[[0, 0, 0], [0, 1, 0], [0, 0, far]]).check_geometry()
    with pytest.raises(InputError, match=r"point charges up to 100 e were expected \(got 1e\+09 e\)"):
        water(mm_charges=[0.4, -1e9]).check_geometry()


def test_unique_keeps_the_first_of_each_configuration() -> None:
    first, again, other = water(info={"step": 1}), water(info={"step": 2}), water(charge=2)
    assert list(Frames([first, other, again]).unique()) == [first, other]


def test_a_missing_file_is_bad_input(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("none.xyz", "none.h5", "."):
        with pytest.raises(InputError, match="check the path"):
            Frames.read(tmp_path / name)


def test_a_frame_prints_in_one_line() -> None:
    assert "3 QM atoms, 2 charges, labels energy)" in repr(water(energy=1.0))
    assert "\n" not in repr(Frames([water()]))
