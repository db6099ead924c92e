"""The jobs `prepare` and `sample`: files in, files out, and how they ended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_systems import TEMPLATE, methanol

from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import run
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings

SYSTEM = methanol(16, 6)


def status(directory: Path) -> files.Status:
    return files.Status.model_validate_json((directory / files.STATUS).read_text())


def prepare_job(sampling: SamplingSettings, **changes: object) -> files.PrepareJob:
    short = sampling.model_copy(update={"equilibration_steps": 20, "minimize_tolerance": 0.5})
    return files.PrepareJob(system=SystemSettings(**(SYSTEM | changes)), sampling=short, seed=1)


def test_prepare_job_leaves_an_equilibrated_assembly(tmp_path: Path, sampling: SamplingSettings) -> None:
    for name in ("methanol.pdb", "methanol.xml"):
        shutil.copy(TEMPLATE / name, tmp_path)
    files.write_settings(tmp_path, files.SETTINGS, prepare_job(sampling))
    assert run("prepare", tmp_path) == 0
    final = Assembly.read(tmp_path / files.FINAL)
    assert final.velocities is not None
    found = status(tmp_path)
    assert found.state == "finished"
    assert found.counts == {"steps": 20, "atoms": final.n_atoms, "qm_atoms": 6}
    assert json.loads((tmp_path / files.PROGRESS).read_text()) == {"done": 20, "total": 20}


def test_prepare_job_without_its_files_is_bad_input(tmp_path: Path, sampling: SamplingSettings) -> None:
    files.write_settings(tmp_path, files.SETTINGS, prepare_job(sampling))
    assert run("prepare", tmp_path) == 2
    assert status(tmp_path).error_kind == "input"
    assert "got no file" in (status(tmp_path).message or "")


def test_sample_job_leaves_frames_and_its_end_state(
    tmp_path: Path, methanol: Assembly, sampling: SamplingSettings
) -> None:
    methanol.write(tmp_path / files.ASSEMBLY)
    files.write_settings(tmp_path, files.SETTINGS, files.SampleJob(sampling=sampling, seed=5, steps=40, interval=20))
    assert run("sample", tmp_path) == 0
    frames = Frames.read(tmp_path / files.SAMPLED)
    assert [frame.info["step"] for frame in frames] == [20, 40]
    end = Assembly.read(tmp_path / files.FINAL).frame()
    np.testing.assert_allclose(end.positions, frames[-1].positions, atol=1e-9)
    assert status(tmp_path).counts == {"steps": 40, "frames": 2}


@pytest.mark.parametrize("damage", ["missing", "steps"])
def test_sample_job_with_wrong_settings_is_bad_input(
    tmp_path: Path, methanol: Assembly, sampling: SamplingSettings, damage: str
) -> None:
    if damage == "steps":
        text = files.SampleJob(sampling=sampling, seed=5, steps=40, interval=20).model_dump_json()
        (tmp_path / files.SETTINGS).write_text(text.replace('"steps":40', '"steps":0'))
    assert run("sample", tmp_path) == 2
    assert status(tmp_path).error_kind == "input"
