"""The job ``label``: one line a frame, restart, failed frames, damaged files."""

import json

import pytest
from cheap_level import make_level

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files, main
from aiida_hqe.jobs import label as job
from aiida_hqe.labels import Label


@pytest.fixture
def batch(water):
    """Three frames, the second with a charge on an atom."""
    charges = water.mm_positions.copy()
    charges[0] = water.positions[0]
    return Frames([water, water.replace(mm_positions=charges), water.replace(positions=water.positions + 0.01)])


@pytest.fixture
def directory(tmp_path, batch):
    """A job's directory with its inputs."""
    batch.write(tmp_path / files.FRAMES)
    files.write_settings(tmp_path, files.LEVEL, make_level(embedding={"core_orbitals": [5]}))
    return tmp_path


def read(directory):
    return [Label.model_validate_json(line) for line in (directory / files.LABELS).read_text().splitlines()]


def test_a_failed_frame_costs_that_frame_only(directory, batch):
    assert main.run("label", directory) == 0
    status = json.loads((directory / files.STATUS).read_text())
    assert status["state"] == "partial"
    assert status["error_kind"] == "input"
    assert status["counts"] == {"frames": 3, "labelled": 2, "failed": 1, "reused": 0}
    assert [found.status for found in read(directory)] == ["ok", "failed", "ok"]
    assert [found.frame for found in read(directory)] == batch.hashes
    assert json.loads((directory / files.PROGRESS).read_text()) == {"done": 3, "total": 3}


def test_a_killed_job_goes_on_where_it_was(directory, monkeypatch):
    job.run(directory)
    path = directory / files.LABELS
    whole = path.read_text()
    first = whole.splitlines(keepends=True)[0]
    path.write_text(first + whole[len(first) : len(first) + 40])
    computed = []

    def counted(frame, level):
        computed.append(frame.hash)
        return label_frame(frame, level)

    label_frame = job.label
    monkeypatch.setattr(job, "label", counted)
    status = job.run(directory)
    assert status.counts["reused"] == 1
    assert len(computed) == 2
    assert path.read_text().startswith(first)
    energies = [Label.model_validate_json(line).energy for line in whole.splitlines()]
    assert [found.energy for found in read(directory)] == pytest.approx(energies, abs=1e-8)


def test_a_finished_job_run_again_computes_nothing(directory, monkeypatch):
    job.run(directory)
    before = (directory / files.LABELS).read_bytes()
    monkeypatch.delattr(job, "label")
    assert job.run(directory).counts["reused"] == 3
    assert (directory / files.LABELS).read_bytes() == before


def test_a_batch_without_failures_is_finished_and_repeats_are_labelled_once(tmp_path, water):
    Frames([water, water]).write(tmp_path / files.FRAMES)
    files.write_settings(tmp_path, files.LEVEL, make_level(embedding={"core_orbitals": [5]}))
    status = job.run(tmp_path)
    assert status.state == "finished"
    assert len(read(tmp_path)) == 1


def test_a_damaged_line_before_the_last_is_an_error(directory):
    (directory / files.LABELS).write_text('{"status": "o\n{}\n')
    with pytest.raises(IntegrityError, match=r"labels.jsonl:1"):
        job.run(directory)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"core": {"method": "ccsdtq"}}', "core.method"),
        ('{"environment": {"functional": "pbe"}}', "environment.functional"),
        ('{"embedding": {"core_orbitals": [4.5]}}', "embedding.core_orbitals.0"),
        ("{", ""),
    ],
)
def test_a_wrong_level_is_refused_with_its_key(directory, text, key):
    (directory / files.LEVEL).write_text(text)
    with pytest.raises(InputError, match=r"level\.json") as caught:
        job.run(directory)
    assert caught.value.key == key


def test_a_missing_level_is_refused(directory):
    (directory / files.LEVEL).unlink()
    with pytest.raises(InputError, match="no file"):
        job.run(directory)


def test_a_level_that_leaves_core_orbitals_open_is_refused(directory):
    """Each job sees a part of the frames: a choice of its own could differ from that of the next."""
    files.write_settings(directory, files.LEVEL, make_level())
    with pytest.raises(InputError, match=r"core_orbitals: .*aiida-hqe cores"):
        job.run(directory)
