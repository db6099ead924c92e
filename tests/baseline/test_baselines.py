"""Baselines: derivatives, invariances, what they refuse.

Central differences of 1e-3 angstrom and 1e-3 e. Energies of xTB are converged to 1e-9 hartree, which leaves 2e-5 eV/angstrom;
those of Hartree-Fock to 1e-10 hartree.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from aiida_hqe.baseline.baseline import Baseline, evaluate, with_baseline
from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.frames import Frame, Frames

STEP, TOLERANCE = 1e-3, 1e-4
XTB = importlib.util.find_spec("xtb") is not None
needs_xtb = pytest.mark.skipif(not XTB, reason="needs the extra 'xtb'")
NAMES = [
    pytest.param("gfn1-xtb", marks=needs_xtb),
    pytest.param("gfn2-xtb", marks=needs_xtb),
    "hf-minimal",
]


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Methanol in water, its labels removed."""
    return Frames(f.unlabelled() for f in Frames.read(Path(__file__).parent.parent / "data" / "methanol_water.h5"))


def slope(name: str, frame: Frame, field: str, index: tuple[int, ...]) -> float:
    ends = []
    for sign in (1, -1):
        array = np.array(getattr(frame, field))
        array[index] += sign * STEP
        ends.append(evaluate(frame.replace(**{field: array}), name).energy)
    return (ends[0] - ends[1]) / (2 * STEP)


def nearest(frame: Frame) -> list[int]:
    distances = np.linalg.norm(frame.mm_positions[:, None] - frame.positions, axis=-1).min(axis=1)
    order = np.argsort(distances)
    return [int(order[k]) for k in (0, 5, len(order) // 2)]


@pytest.mark.parametrize("name", NAMES)
def test_forces_and_charge_gradient_are_derivatives_of_the_energy(name: str, frames: Frames) -> None:
    frame = frames[0]
    found = evaluate(frame, name)
    for index in [(4, 1), (5, 2)]:
        assert found.forces[index] == pytest.approx(-slope(name, frame, "positions", index), abs=TOLERANCE)
    for m in nearest(frame):
        assert found.mm_forces[m, 2] == pytest.approx(-slope(name, frame, "mm_positions", (m, 2)), abs=TOLERANCE)
        assert found.charge_gradient[m] == pytest.approx(slope(name, frame, "mm_charges", (m,)), abs=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_total_force_and_torque_vanish_and_the_energy_turns_with_the_frame(name: str, frames: Frames) -> None:
    frame = frames[1]
    found = evaluate(frame, name)
    forces = np.concatenate([found.forces, found.mm_forces])
    places = np.concatenate([frame.positions, frame.mm_positions]) - frame.positions.mean(axis=0)
    assert np.abs(forces.sum(axis=0)).max() < 1e-5
    assert np.abs(np.cross(places, forces).sum(axis=0)).max() < 1e-4
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix()
    moved = frame.replace(positions=frame.positions @ turn.T, mm_positions=frame.mm_positions @ turn.T)
    assert evaluate(moved, name).energy == pytest.approx(found.energy, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_few_charges_and_none(name: str, frames: Frames) -> None:
    frame = frames[0]
    few = frame.replace(mm_numbers=[11], mm_positions=[[9.0, 9.0, 9.0]], mm_charges=[1.0])
    found = evaluate(few, name)
    assert found.charge_gradient[0] == pytest.approx(slope(name, few, "mm_charges", (0,)), abs=TOLERANCE)
    none = evaluate(frame.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[]), name)
    assert none.mm_forces.shape == (0, 3)
    assert none.charge_gradient.shape == (0,)
    assert np.abs(none.forces.sum(axis=0)).max() < 1e-5


@needs_xtb
def test_elements_of_the_charges_are_part_of_gfn2(frames: Frames) -> None:
    frame = frames[0]
    other = evaluate(frame.replace(mm_numbers=np.full(frame.n_mm, 7)), "gfn2-xtb")
    assert abs(other.energy - evaluate(frame, "gfn2-xtb").energy) > 1e-2


@pytest.mark.parametrize("number", [0, 87, 118])
def test_elements_that_the_library_would_read_out_of_range_are_refused(number: int, frames: Frames) -> None:
    frame = frames[0]
    with pytest.raises(InputError, match=rf"elements 1 to 86 .*\[{number}\].*hf-minimal"):
        evaluate(frame.replace(mm_numbers=np.full(frame.n_mm, number)), "gfn2-xtb")


def test_an_element_without_a_minimal_basis_is_refused() -> None:
    heavy = Frame(numbers=[92], positions=[[0.0, 0.0, 0.0]], charge=0, spin=0)
    with pytest.raises(InputError, match=r"STO-3G .*\[92\].*gfn2-xtb"):
        evaluate(heavy, "hf-minimal")


@pytest.mark.skipif(XTB, reason="xtb is installed")
def test_a_missing_package_is_named_with_the_remedy(frames: Frames) -> None:
    with pytest.raises(ResourceError, match=r"aiida-hqe\[xtb\].*hf-minimal"):
        evaluate(frames[0], "gfn2-xtb")


def test_frames_keep_the_baseline_they_carry_and_another_is_refused(
    frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, calls = frames[:2], []

    def counted(frame: Frame, name: str) -> Baseline:
        calls.append(name)
        return evaluate(frame, "hf-minimal")

    monkeypatch.setattr("aiida_hqe.baseline.baseline.evaluate", counted)
    once = with_baseline(few, "hf-minimal")
    twice = with_baseline(once, "hf-minimal")
    assert once == twice
    assert len(calls) == 2
    assert once[0].info["baseline"] == "hf-minimal"
    assert with_baseline(few, "none") == Frames(few)
    with pytest.raises(InputError, match="has hf-minimal"):
        with_baseline(once, "gfn2-xtb")
