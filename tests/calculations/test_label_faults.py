"""Faults of a running label job, with the real console script at a cheap level."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from campaign_cases import hydrogens

from aiida_hqe.embedding.label import label, sound
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import deadline, files, main
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


def test_a_job_ends_by_itself_before_its_walltime_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(deadline.WALLTIME, "1000")
    monkeypatch.setattr(deadline, "_BEGAN", time.time() - 949.99)  # of the 950 that it may use
    assert main.run("label", folder) == 0
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert (status.state, status.error_kind, status.cause, lines(folder)) == ("partial", "resource", None, 1)
    assert "1 of 12 frames were tried" in (status.message or "")


def test_a_job_whose_walltime_is_over_says_so_where_no_scheduler_ends_it(folder: Path) -> None:
    process = job(folder, **{deadline.WALLTIME: "0.001"})
    process.communicate()
    assert process.returncode == 1
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert (status.state, status.error_kind, status.cause) == ("failed", "resource", "walltime")
    assert lines(folder) < 12


def test_a_job_begun_twice_waits_for_itself_and_computes_nothing_again(folder: Path) -> None:
    first, second = job(folder), job(folder)
    first.communicate()
    second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    labels = [found.frame for found in keep_complete(folder / files.LABELS)]
    assert sorted(labels) == sorted(Frames.read(folder / files.FRAMES).hashes)


def test_a_full_disk_is_the_reason_that_the_job_gives_and_keeps_what_was_finished(folder: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = subprocess.Popen([SCRIPT, "label"], cwd=folder, preexec_fn=limit, stderr=subprocess.PIPE)
    process.communicate()
    assert process.returncode == 1
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert (status.state, status.error_kind, status.cause) == ("failed", "resource", "disk")
    assert str(folder) in (status.message or "")
    assert 0 < len(keep_complete(folder / files.LABELS)) < 12
    assert not (folder / files.RESERVE).exists()


WRITES = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files, main
frames = Frames.read(files.FRAMES)
def job(directory):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    Frames(20 * list(frames)).write(directory / files.SAMPLED)
sys.modules["aiida_hqe.jobs.sample"] = SimpleNamespace(run=job)
sys.exit(main.run("sample", Path()))
"""


@pytest.mark.parametrize("room", [2000, 20000])
def test_a_result_for_which_the_disk_has_no_room_is_no_bad_input(folder: Path, room: int) -> None:
    """Else the job would be cached as one that refused its input, and not be tried again."""
    ended = subprocess.run([sys.executable, "-c", WRITES, str(room)], cwd=folder, capture_output=True, check=False)
    status = files.Status.model_validate_json((folder / files.STATUS).read_text())
    assert (ended.returncode, status.error_kind, status.cause) == (1, "resource", "disk")
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


def test_a_frame_on_which_the_calculation_breaks_down_costs_that_frame_only() -> None:
    poison = hydrogens(1)[0].replace()
    object.__setattr__(poison, "mm_charges", np.array([np.nan]))
    found = label(poison, Level.model_validate(LEVEL))
    assert (found.status, found.error_kind) == ("failed", "convergence")


@pytest.mark.parametrize("entry", ["environment_energy", "environment_forces", "environment_charge_gradient"])
def test_a_label_that_is_not_finite_is_a_failed_one(entry: str) -> None:
    frame = hydrogens(1)[0]
    found = label(frame, Level.model_validate(LEVEL))
    assert sound(frame, found) == found
    value = getattr(found, entry)
    nan = (
        math.nan
        if isinstance(value, float)
        else [*value[:-1], math.nan if entry.endswith("gradient") else (math.nan,) * 3]
    )
    spoilt = sound(frame, found.model_copy(update={entry: nan}))
    assert (spoilt.status, spoilt.error_kind, spoilt.frame) == ("failed", "convergence", frame.hash)
    assert frame.hash[:12] in (spoilt.message or "")


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
