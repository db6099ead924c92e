"""``train`` and ``predict`` on a file of real labels, and ``sample`` with and without the committee that came out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run
from small_systems import methanol, system_file

from aiida_hqe.campaign.template import copy
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.hdf5 import read_frames

SETTINGS = """
potential: {features: 8, interactions: 1, radial_functions: 6, cutoff: 3 angstrom}
training: {members: 2, epochs: 3, target_epochs: 2, held_out: 0.3}
confidence: 0.6
"""

SYSTEM = system_file(
    methanol(18, 6, switch_width="1 angstrom"),
    equilibration_steps=20,
    steps=20,
    interval=10,
    nonbonded_cutoff="8 angstrom",
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten labelled frames of hydrogen in two charges, a settings file, and a committee trained on them."""
    folder = tmp_path_factory.mktemp("train")
    random = np.random.default_rng(1)
    environment = {"xc": "lda,vwn", "basis": "sto-3g", "grid_level": 0}
    level = Level.model_validate({"environment": environment, "core": {"method": "mp2"}})
    frames = []
    for _ in range(10):
        frame = Frame(
            numbers=[1, 1],
            positions=[[0, 0, 0], [0.74 + 0.1 * random.uniform(-1, 1), 0, 0]],
            charge=0,
            spin=0,
            core=[1, 1],
            mm_numbers=[8, 1],
            mm_positions=random.normal(loc=(0, 3, 0), size=(2, 3)),
            mm_charges=[-0.4, 0.4],
        )
        frames.append(label(frame, level).apply(frame))
    Frames(frames).write(folder / "labelled.xyz")
    (folder / "settings.yaml").write_text(SETTINGS)
    arguments = ["-o", folder / "c.safetensors", "--settings", folder / "settings.yaml", "--json"]
    result = run("train", folder / "labelled.xyz", *arguments)
    assert result.exit_code == 0, result.stderr
    (folder / "summary.json").write_text(result.stdout)
    return folder


def test_training_learns_both_levels_and_calibrates_on_what_it_held_out(room: Path) -> None:
    summary = json.loads((room / "summary.json").read_text())
    assert summary["levels"] == ["environment", "target"]
    assert summary["members"] == 2
    assert summary["training_frames"] == 7
    assert summary["calibration"]["n_frames"] == 3
    assert summary["calibration"]["confidence"] == 0.6


def test_predictions_have_every_promised_part(room: Path) -> None:
    result = run("predict", room / "c.safetensors", room / "labelled.xyz", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    frames = Frames.read(room / "labelled.xyz")
    factor = json.loads((room / "summary.json").read_text())["calibration"]["force_factor"]
    assert [one["frame"] for one in found] == frames.hashes
    for one in found:
        assert np.shape(one["forces"]) == np.shape(one["environment_forces"]) == (2, 3)
        assert np.shape(one["mm_forces"]) == np.shape(one["environment_mm_forces"]) == (2, 3)
        assert one["bound"] == pytest.approx(factor * one["disagreement"])
        assert one["energy_bound"] > 0
        assert np.isfinite(one["energy"])
    text = run("predict", room / "c.safetensors", room / "labelled.xyz")
    assert len(text.stdout.splitlines()) == 10
    assert "bound" in text.stdout


def test_the_same_seed_gives_the_same_committee_byte_by_byte(room: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    assert run("train", room / "labelled.xyz", "-o", again, "--settings", room / "settings.yaml").exit_code == 0
    assert again.read_bytes() == (room / "c.safetensors").read_bytes()


def test_too_few_frames_give_a_committee_without_bounds_and_say_so(room: Path, tmp_path: Path) -> None:
    Frames(Frames.read(room / "labelled.xyz")[:3]).write(tmp_path / "few.xyz")
    arguments = ["-o", tmp_path / "c.safetensors", "--settings", room / "settings.yaml"]
    trained = run("train", tmp_path / "few.xyz", *arguments)
    assert trained.exit_code == 0, trained.stderr
    assert "not calibrated: predictions will have no bound; 4 frames are enough" in trained.stderr
    (one, *_) = json.loads(run("predict", tmp_path / "c.safetensors", tmp_path / "few.xyz", "--json").stdout)
    assert one["bound"] is None
    assert one["disagreement"] > 0


def test_a_committee_for_other_elements_is_refused(room: Path, tmp_path: Path) -> None:
    Frames([Frame(numbers=[8, 1, 1], positions=np.eye(3), charge=0, spin=0)]).write(tmp_path / "water.xyz")
    result = run("predict", room / "c.safetensors", tmp_path / "water.xyz", "--json")
    assert result.exit_code == 2
    assert "elements [1]" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    copy("methanol-water", tmp_path / "system")
    (tmp_path / "system" / "system.yaml").write_text(SYSTEM)
    result = run("sample", tmp_path / "system" / "system.yaml", room / "c.safetensors", "-o", tmp_path / "frames.h5")
    assert result.exit_code == 2
    assert "elements [1]" in result.stderr
    assert not (tmp_path / "frames.h5").exists()


def test_sampling_with_the_force_field_keeps_a_frame_per_interval_and_can_go_on(tmp_path: Path) -> None:
    copy("methanol-water", tmp_path / "system")
    system = tmp_path / "system" / "system.yaml"
    system.write_text(SYSTEM)
    first = run("sample", system, "-o", tmp_path / "frames.h5", "--final", tmp_path / "end.h5", "--seed", "3")
    assert first.exit_code == 0, first.stderr
    frames = read_frames(tmp_path / "frames.h5")
    assert [frame.info["step"] for frame in frames] == [10, 20]
    assert frames[0].n_qm == 6
    more = run("sample", system, "-o", tmp_path / "more.xyz", "--start", tmp_path / "end.h5")
    assert more.exit_code == 0, more.stderr
    assert not set(frames.hashes) & set(Frames.read(tmp_path / "more.xyz").hashes)
