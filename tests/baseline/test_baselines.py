"""Baselines: derivatives, invariances, what they refuse.

Central differences of 1e-3 angstrom and 1e-3 e. Energies of xTB are converged to 1e-9 hartree, which leaves 2e-5 eV/angstrom;
those of Hartree-Fock to 1e-10 hartree.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.spatial.transform import Rotation

from aiida_hqe.baseline.baseline import Baseline, evaluate, require, with_baseline
from aiida_hqe.cli.root import main as cli
from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs import main as jobs

DATA = Path(__file__).parent.parent / "data" / "methanol_water.h5"

STEP, TOLERANCE = 1e-3, 1e-4
XTB = importlib.util.find_spec("xtb") is not None
needs_xtb = pytest.mark.skipif(not XTB, reason="needs the extra 'xtb'")
NAMES = [
    pytest.param("gfn1-xtb", marks=needs_xtb),
    pytest.param("gfn2-xtb", marks=needs_xtb),
    pytest.param("gfn2-xtb-gas", marks=needs_xtb),
    "hf-minimal",
]


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Methanol in water, its labels removed."""
    return Frames(f.unlabelled() for f in Frames.read(DATA))


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


@needs_xtb
@pytest.mark.parametrize("name", ["gfn1-xtb", "gfn2-xtb"])
def test_in_the_gas_phase_a_method_is_what_it_is_without_charges(name: str, frames: Frames) -> None:
    frame = frames[0]
    found = evaluate(frame, f"{name}-gas")
    alone = evaluate(frame.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[]), name)
    assert found.energy == pytest.approx(alone.energy, abs=1e-7)
    np.testing.assert_allclose(found.forces, alone.forces, rtol=0, atol=1e-6)
    assert found.mm_forces.shape == (frame.n_mm, 3)
    assert not found.mm_forces.any()
    assert not found.charge_gradient.any()
    assert abs(found.energy - evaluate(frame, name).energy) > 0.1


@pytest.mark.parametrize("number", [0, 87, 118])
@pytest.mark.parametrize("name", ["gfn1-xtb", "gfn2-xtb"])
def test_charges_that_the_library_would_read_out_of_range_are_refused(name: str, number: int, frames: Frames) -> None:
    frame = frames[0]
    with pytest.raises(InputError, match=rf"elements 1 to 86 .* point charges .*\[{number}\].*gfn2-xtb-gas"):
        evaluate(frame.replace(mm_numbers=np.full(frame.n_mm, number)), name)


@pytest.mark.parametrize("name", ["gfn1-xtb", "gfn2-xtb", "gfn1-xtb-gas", "gfn2-xtb-gas"])
def test_atoms_that_the_library_would_read_out_of_range_are_refused(name: str, frames: Frames) -> None:
    numbers = frames[0].numbers.copy()
    numbers[0] = 92
    with pytest.raises(InputError, match=r"elements 1 to 86 .* QM atoms .*\[92\].*hf-minimal"):
        evaluate(frames[0].replace(numbers=numbers), name)


@needs_xtb
def test_charges_without_an_element_do_not_matter_in_the_gas_phase(frames: Frames) -> None:
    frame = frames[0]
    sites = frame.replace(mm_numbers=np.zeros(frame.n_mm, dtype=int))
    expected = evaluate(frame, "gfn2-xtb-gas").energy
    assert evaluate(sites, "gfn2-xtb-gas").energy == pytest.approx(expected, abs=1e-7)


def test_an_element_without_a_minimal_basis_is_refused() -> None:
    heavy = Frame(numbers=[92], positions=[[0.0, 0.0, 0.0]], charge=0, spin=0)
    with pytest.raises(InputError, match=r"STO-3G .*\[92\].*gfn2-xtb"):
        evaluate(heavy, "hf-minimal")


@pytest.fixture
def without_xtb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which the package is not installed, whatever this one has."""
    for name in ("xtb", "xtb.interface", "xtb.libxtb"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_xtb")
def test_a_missing_package_is_named_with_the_remedy(frames: Frames) -> None:
    with pytest.raises(ResourceError, match=r"aiida-hqe\[xtb\].*hf-minimal"):
        evaluate(frames[0], "gfn2-xtb")
    require("hf-minimal")
    require("none")


@pytest.mark.usefixtures("without_xtb")
@pytest.mark.parametrize("job", ["label", "train"])
def test_a_job_on_a_machine_without_the_package_ends_before_it_computes(
    job: str, frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is at fault, not the frames: no frame has a failed label, and no time is spent."""
    monkeypatch.setattr("aiida_hqe.embedding.label.solve_environment", None)
    monkeypatch.setattr("aiida_hqe.training.train.fit", None)
    Frames(Frames.read(DATA)[:2]).write(tmp_path / files.FRAMES)
    level = {"environment": {"xc": "lda,vwn", "basis": "sto-3g"}, "baseline": "gfn2-xtb"}
    (tmp_path / files.LEVEL).write_text(json.dumps(level))
    settings = {"members": [0], "seed": 1, "potential": {"baseline": "gfn2-xtb"}, "training": {}}
    (tmp_path / files.SETTINGS).write_text(json.dumps(settings))
    assert jobs.run(job, tmp_path) != 0
    status = files.Status.model_validate_json((tmp_path / files.STATUS).read_text())
    assert (status.state, status.error_kind) == ("failed", "resource")
    assert "pip install 'aiida-hqe[xtb]'" in status.message
    assert not (tmp_path / files.LABELS).exists()


@pytest.mark.usefixtures("without_xtb")
def test_commands_on_files_say_what_is_missing_and_write_nothing(frames: Frames, tmp_path: Path) -> None:
    Frames(frames[:1]).write(tmp_path / "frames.h5")
    Frames.read(DATA).write(tmp_path / "labelled.h5")
    (tmp_path / "level.yaml").write_text("environment: {xc: 'lda,vwn', basis: sto-3g}\nbaseline: gfn2-xtb\n")
    (tmp_path / "train.yaml").write_text("potential: {baseline: gfn2-xtb}\n")
    level, settings = str(tmp_path / "level.yaml"), str(tmp_path / "train.yaml")
    made, committee = tmp_path / "made.h5", tmp_path / "committee.safetensors"
    for arguments in (
        ["label", str(tmp_path / "frames.h5"), "--level", level, "-o", str(made)],
        ["train", str(tmp_path / "labelled.h5"), "--settings", settings, "-o", str(committee)],
    ):
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code != 0
        assert "pip install 'aiida-hqe[xtb]'" in result.output
    assert not made.exists()
    assert not committee.exists()


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
