"""Faults of a running label job, with the real console script at a cheap level."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaign_cases import hydrogens

from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import deadline, files
from aiida_hqe.jobs.label import keep_complete

LEVEL = {"environment": {"xc": "pbe", "basis": "sto-3g", "grid_level": 1}, "core": {"method": "hf"}}
SCRIPT = str(Path(sys.executable).parent / "hqe-job")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a label job with twelve frames."""
    hydrogens(12).write(tmp_path / files.FRAMES)
    files.write_settings(tmp_path, files.LEVEL, Level.model_validate(LEVEL))
    return tmp_path


def job(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([SCRIPT, "label"], cwd=folder, env={**os.environ, **environment}, stderr=subprocess.PIPE)


def lines(folder: Path) -> int:
    path = folder / files.LABELS
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_labels_grow_while_the_job_runs_and_a_kill_leaves_the_finished_ones(folder: Path) -> None:
    process = job(folder)
    seen = set()
    while process.poll() is None and max(seen, default=0) < 4:
        seen.add(lines(folder))
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the job was faster than the kill"
    assert len(seen) >= 3
    assert not (folder / files.STATUS).exists()
    finished = {found.frame: found for found in keep_complete(folder / files.LABELS)}
    assert 4 <= len(finished) < 12

    again = job(folder)
    again.communicate()
    assert again.returncode == 0
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert status.counts["reused"] == len(finished)
    labels = {found.frame: found for found in keep_complete(folder / files.LABELS)}
    assert set(labels) == set(Frames.read(folder / files.FRAMES).hashes)
    assert {key: labels[key] for key in finished} == finished


def test_a_job_ends_by_itself_before_its_walltime_does(folder: Path) -> None:
    process = job(folder, **{deadline.WALLTIME: "0.001"})
    process.communicate()
    assert process.returncode == 0
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert (status.state, status.error_kind, lines(folder)) == ("partial", "resource", 1)
    assert "1 of 12 frames were tried" in (status.message or "")


def test_without_limits_another_label_is_always_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(deadline.WALLTIME, raising=False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    clock = deadline.Deadline()
    clock.step()
    assert clock.allows_another()


def test_the_limit_of_processor_time_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, resource.RLIM_INFINITY))
    clock = deadline.Deadline()
    assert clock.allows_another()
    sum(range(10_000))
    clock.step()
    monkeypatch.setattr(time, "process_time", lambda: 2.0)
    assert not clock.allows_another()
