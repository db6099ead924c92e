"""``label`` on files: JSON, exit codes, output, and going on after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_systems import WATER

from aiida_hqe.cli import main
from aiida_hqe.cli.journal import Journal
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames

LEVEL = """
environment: {xc: pbe, basis: sto-3g, grid_level: 0, density_fit: false, xc_library: libxc, dispersion: null}
core: {method: mp2, frozen_core: false, density_fit: false, virtuals: full}
embedding: {projector: huzinaga, functional: linear, partition: spade, core_orbitals: [4]}
"""


def water(stretch: float, **changes: object) -> Frame:
    fields = {
        "numbers": [8, 1, 1],
        "positions": WATER * stretch,
        "charge": 0,
        "spin": 0,
        "core": [1, 1, 0],
        "mm_numbers": [8, 1],
        "mm_positions": [[3.0, 0.5, 0.2], [3.5, 1.2, 0.2]],
        "mm_charges": [-0.4, 0.4],
    }
    return Frame(**(fields | changes))


@pytest.fixture
def level_file(tmp_path: Path) -> Path:
    path = tmp_path / "level.yaml"
    path.write_text(LEVEL)
    return path


@pytest.fixture
def frames_file(tmp_path: Path) -> Path:
    path = tmp_path / "frames.xyz"
    Frames([water(1.0), water(1.02), water(1.0)]).write(path)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["label", *(str(argument) for argument in arguments)])


def test_json_holds_every_part_and_the_parts_sum_to_the_energy(frames_file: Path, level_file: Path) -> None:
    result = run(frames_file, "--level", level_file, "--json", "--threads", "1")
    assert result.exit_code == 0, result.stderr
    labels = json.loads(result.stdout)
    assert [found["status"] for found in labels] == ["ok"] * 3
    assert labels[0]["frame"] == labels[2]["frame"]
    for found, frame in zip(labels, Frames.read(frames_file), strict=True):
        (core,) = found["cores"]
        assert core["orbitals"] == 4
        parts = core["mean_field_energy"] + core["correlation_energy"] + core["triples_energy"]
        assert found["energy"] == pytest.approx(found["environment_energy"] + parts, abs=1e-9)
        assert np.shape(found["environment_forces"]) == (3, 3)
        assert np.shape(found["environment_mm_forces"]) == (2, 3)
        assert found["seconds"] > 0
        assert found["frame"] == frame.hash
    direct = label(Frames.read(frames_file)[0], Level.model_validate(level_data()), threads=1)
    assert labels[0]["energy"] == pytest.approx(direct.energy, abs=1e-10)


def level_data() -> dict[str, object]:
    import yaml

    return dict(yaml.safe_load(LEVEL))


@pytest.mark.parametrize("name", ["out.xyz", "out.h5"])
def test_the_output_holds_the_labelled_frames(tmp_path: Path, frames_file: Path, level_file: Path, name: str) -> None:
    result = run(frames_file, "--level", level_file, "-o", tmp_path / name, "--json")
    labelled = Frames.read(tmp_path / name)
    assert labelled.hashes == Frames.read(frames_file).hashes
    for frame, found in zip(labelled, json.loads(result.stdout), strict=True):
        assert frame.energy == found["energy"]
        assert frame.environment_forces is not None
        assert frame.environment_forces.tolist() == found["environment_forces"]
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_frame_with_a_charge_on_an_atom_costs_that_frame_only(tmp_path: Path, level_file: Path) -> None:
    bad = water(1.0, mm_positions=[[0.0, 0.0, 0.05], [3.5, 1.2, 0.2]])
    Frames([water(1.0), bad]).write(tmp_path / "mixed.h5")
    result = run(tmp_path / "mixed.h5", "--level", level_file, "--json", "-o", tmp_path / "out.xyz")
    assert result.exit_code == 2
    good, failed = json.loads(result.stdout)
    assert (good["status"], failed["status"], failed["error_kind"]) == ("ok", "failed", "input")
    assert bad.hash[:12] in failed["message"]
    assert failed["energy"] is None
    assert Frames.read(tmp_path / "out.xyz").hashes == [water(1.0).hash]


def test_an_interrupted_run_keeps_what_is_finished_and_goes_on(
    tmp_path: Path, frames_file: Path, level_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiida_hqe.embedding.label as room

    done: list[str] = []

    def interrupted(frame: Frame, level: Level, *, threads: int | None = None) -> object:
        if done:
            raise KeyboardInterrupt
        done.append(frame.hash)
        return label(frame, level, threads=threads)

    monkeypatch.setattr(room, "label", interrupted)
    output = tmp_path / "out.h5"
    first = run(frames_file, "--level", level_file, "-o", output, "--json")
    assert first.exit_code == 1
    assert "interrupted: 1 of 3" in first.stderr
    assert {found["frame"] for found in json.loads(first.stdout)} == set(done)
    assert set(Frames.read(output).hashes) == set(done)

    monkeypatch.setattr(
        room, "label", lambda frame, level, threads=None: done.append(frame.hash) or label(frame, level)
    )
    second = run(frames_file, "--level", level_file, "-o", output, "--json")
    assert second.exit_code == 0
    assert len(done) == len(set(done)) == 2
    assert len(Frames.read(output)) == 3
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_journal_drops_a_cut_line_and_refuses_another_level_or_damage(tmp_path: Path) -> None:
    level, frame = Level.model_validate(level_data()), water(1.0)
    journal = Journal.beside(tmp_path / "out.xyz", level)
    journal.add(label(frame, level))
    assert journal.path is not None
    with journal.path.open("a") as stream:
        stream.write('{"status": "ok", "fra')
    assert list(Journal(journal.path, level).labels) == [frame.hash]
    with pytest.raises(InputError, match="labels of the same level were expected"):
        Journal(journal.path, Level())
    journal.path.write_text(journal.path.read_text() + "{}\n")
    with pytest.raises(IntegrityError, match="damaged"):
        Journal(journal.path, level)
