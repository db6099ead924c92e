from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.plugins import CalculationFactory
from safetensors.numpy import save

from aiida_hqe import hdf5
from aiida_hqe.calculations.label import level_key
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.jobs import files
from aiida_hqe.labels import VECTORS, CoreLabel, Label
from aiida_hqe.predictions import Prediction, Residuals
from aiida_hqe.residuals import write_residuals

Parse = Callable[..., Any]
MakeStatus = Callable[..., str]

JOBS = ("prepare", "label", "train", "sample", "predict")
HEADER = {
    "elements": [1, 8], "levels": ["environment"], "force_level": "environment", "learn": "direct", "members": {"0": {}},
    "checksum": "0",
}  # fmt: skip


def hydrogens(n: int = 3) -> Frames:
    return Frames(
        Frame(numbers=[1, 1], positions=[[0, 0, 0], [0.74 + 0.01 * i, 0, 0]], charge=0, spin=0) for i in range(n)
    )


def label(frame: Frame) -> Label:
    zero = [(0.0, 0.0, 0.0)] * 2
    return Label(status="ok", frame=frame.hash, environment_energy=-31.0, environment_forces=zero, seconds=2.0)


def failure(frame: Frame) -> Label:
    return Label(status="failed", frame=frame.hash, error_kind="convergence", message="the SCF did not converge")


def lines(*labels: Label) -> str:
    return "".join(label.model_dump_json() + "\n" for label in labels)


def content(path: Path, write: Callable[[Path], None]) -> bytes:
    write(path)
    return path.read_bytes()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("kind", "exit_status"),
    [("input", 200), ("convergence", 400), ("resource", 410), ("integrity", 420), ("error", 490)],
)
def test_each_kind_of_error_has_its_exit_code_and_message(
    parse: Parse, status: MakeStatus, job: str, kind: str, exit_status: int
) -> None:
    outputs, node = parse(job, {files.STATUS: status("failed", error_kind=kind, message="why it failed")})
    assert node.exit_status == exit_status
    assert "why it failed" in node.exit_message
    assert outputs["status"]["error_kind"] == kind


@pytest.mark.parametrize("job", JOBS)
def test_a_job_without_status_was_killed(parse: Parse, job: str) -> None:
    outputs, node = parse(job, {})
    assert (node.exit_status, list(outputs)) == (300, [])


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    "text", ["", "{", '{"state": "excellent"}', b"\xff\xfe"], ids=["empty", "cut", "unknown", "bytes"]
)
def test_an_unreadable_status_is_told(parse: Parse, job: str, text: str | bytes) -> None:
    assert parse(job, {files.STATUS: text})[1].exit_status == 320


@pytest.mark.parametrize("job", JOBS)
def test_a_missing_result_is_named(parse: Parse, status: MakeStatus, job: str) -> None:
    inputs = {"frames": FramesData.from_frames(hydrogens())} if job == "label" else {}
    _, node = parse(job, {files.STATUS: status()}, **inputs)
    assert node.exit_status == 310
    assert node.exit_message.endswith((".h5", ".jsonl", ".safetensors"))


@pytest.mark.parametrize(
    ("job", "result"),
    [("label", files.LABELS), ("train", files.TRAINED), ("sample", files.SAMPLED), ("predict", files.PREDICTIONS)],
)
def test_a_damaged_result_is_unreadable(parse: Parse, status: MakeStatus, job: str, result: str) -> None:
    inputs = {"frames": FramesData.from_frames(hydrogens())} if job == "label" else {}
    damaged = {files.STATUS: status(), result: b"damaged\n", files.HISTORY: "{}", files.FINAL: b""}
    assert parse(job, damaged, **inputs)[1].exit_status == 320


def test_labels_become_frames_in_their_order(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    found = lines(*(label(frame) for frame in reversed(frames)))
    outputs, node = parse("label", {files.STATUS: status(), files.LABELS: found}, frames=FramesData.from_frames(frames))
    assert node.is_finished_ok
    assert "failed" not in outputs
    assert outputs["frames"].frames.hashes == frames.hashes
    assert outputs["frames"].n_labelled == 3
    assert outputs["frames"].frames[0].info["seconds"] == 2.0


def test_what_frames_do_not_hold_of_their_labels_is_kept_without_vectors(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens(2)
    core = CoreLabel(core=1, orbitals=4, mean_field_energy=1.0, correlation_energy=-2.0)
    told = label(frames[0]).model_copy(update={"cores": [core], "scf_rung": "default", "energy": -32.0})
    contents = {files.STATUS: status("partial"), files.LABELS: lines(told, failure(frames[1]))}
    outputs, _ = parse("label", contents, frames=FramesData.from_frames(frames))
    [line] = outputs["details"].content.splitlines()
    kept = Label.model_validate_json(line)
    assert (kept.frame, kept.scf_rung, kept.cores) == (frames[0].hash, "default", [core])
    assert kept == told.model_copy(update=dict.fromkeys(VECTORS))
    arrays = {name for name in Label.model_fields if name.endswith(("forces", "gradient"))}
    assert arrays == VECTORS


def test_labels_that_an_earlier_version_kept_are_parsed_again(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    contents = {files.STATUS: status(), files.LABELS: lines(*map(label, frames))}
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames), kept=True)
    assert node.is_finished_ok
    assert outputs["frames"].n_labelled == 3


def test_a_frame_that_failed_costs_that_frame_only(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    found = lines(label(frames[0]), failure(frames[1]), label(frames[2]))
    contents = {files.STATUS: status("partial"), files.LABELS: found}
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 510
    assert outputs["frames"].frames.hashes == [frames[0].hash, frames[2].hash]
    assert outputs["failed"].get_dict() == {
        frames[1].hash: {"error_kind": "convergence", "message": "the SCF did not converge"}
    }


def test_a_batch_of_failures_has_its_own_exit_code(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    contents = {files.STATUS: status("partial"), files.LABELS: lines(*(failure(frame) for frame in frames))}
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 520
    assert "frames" not in outputs
    assert len(outputs["failed"].get_dict()) == 3


def test_a_killed_label_job_keeps_the_frames_it_finished(parse: Parse) -> None:
    frames = hydrogens()
    cut = lines(label(frames[0])) + label(frames[1]).model_dump_json()[:40]
    outputs, node = parse("label", {files.LABELS: cut}, frames=FramesData.from_frames(frames))
    assert node.exit_status == 500
    assert "1 of 3" in node.exit_message
    assert outputs["frames"].frames.hashes == [frames[0].hash]
    assert outputs["unfinished"]["suspect"] == frames[1].hash
    assert (outputs["unfinished"]["cause"], outputs["unfinished"]["frames"]) == ("killed", frames.hashes[1:])


def test_a_label_job_that_ended_in_time_says_so_and_blames_no_frame(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    contents = {
        files.STATUS: status("partial", error_kind="resource", message="1 of 3"),
        files.LABELS: lines(label(frames[0])),
    }
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 501
    assert (outputs["unfinished"]["cause"], outputs["unfinished"]["suspect"]) == ("walltime", None)


@pytest.mark.parametrize(
    ("scheduler", "expected", "cause"), [(120, 501, "walltime"), (110, 502, "memory"), (140, 500, "node failure")]
)
def test_what_the_scheduler_says_of_the_end_is_kept(parse: Parse, scheduler: int, expected: int, cause: str) -> None:
    frames = hydrogens()
    contents = {files.LABELS: lines(label(frames[0]))}
    outputs, node = parse("label", contents, scheduler=scheduler, frames=FramesData.from_frames(frames))
    assert (node.exit_status, outputs["unfinished"]["cause"]) == (expected, cause)


@pytest.mark.parametrize(("scheduler", "expected"), [(110, 412), (120, 411), (140, 300)])
def test_a_job_that_the_scheduler_ended_says_what_it_lacked(parse: Parse, scheduler: int, expected: int) -> None:
    assert parse("train", {}, scheduler=scheduler)[1].exit_status == expected


@pytest.mark.parametrize(("cause", "expected"), [("walltime", 411), ("memory", 412), ("disk", 410), ("device", 410)])
def test_a_job_that_ran_out_of_something_says_of_what(
    parse: Parse, status: MakeStatus, cause: str, expected: int
) -> None:
    ended = status("failed", error_kind="resource", cause=cause, message="no more of it")
    assert parse("sample", {files.STATUS: ended})[1].exit_status == expected


@pytest.mark.parametrize(
    ("contents", "suspects", "lacked", "expected"),
    [({}, None, "walltime", 501), ({files.LABELS: ""}, 0, "walltime", 501)],
    ids=["before it began", "in its first frame"],
)
def test_a_label_job_whose_walltime_is_over_blames_the_frame_it_worked_on(
    parse: Parse, status: MakeStatus, contents: dict[str, str], suspects: int | None, lacked: str, expected: int
) -> None:
    frames = hydrogens()
    ended = status("failed", error_kind="resource", cause="walltime", message="over")
    outputs, node = parse("label", {files.STATUS: ended, **contents}, frames=FramesData.from_frames(frames))
    assert node.exit_status == expected
    suspect = None if suspects is None else frames[suspects].hash
    assert (outputs["unfinished"]["suspect"], outputs["unfinished"]["lacked"]) == (suspect, lacked)
    assert outputs["unfinished"]["frames"] == frames.hashes


def test_a_full_disk_blames_no_frame_and_costs_no_label(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    ended = status("failed", error_kind="resource", cause="disk", message="full")
    contents = {files.STATUS: ended, files.LABELS: lines(label(frames[0])) + '{"status": "ok", "fra'}
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 410
    assert outputs["frames"].frames.hashes == frames.hashes[:1]
    assert (outputs["unfinished"]["cause"], outputs["unfinished"]["suspect"]) == ("disk", None)


def test_damaged_labels_are_made_again_and_whole_ones_are_kept(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    whole = label(frames[0]).model_dump_json()
    nan = label(frames[1]).model_dump_json().replace("-31.0", "null")
    contents = {files.STATUS: status(), files.LABELS: f"{whole}\n{nan}\n{whole[:40]}"}
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 320
    assert outputs["frames"].frames.hashes == frames.hashes[:1]
    assert outputs["unfinished"]["frames"] == frames.hashes[1:]
    assert (outputs["unfinished"]["cause"], outputs["unfinished"]["suspect"]) == ("damaged", None)


def test_a_status_of_a_newer_version_can_be_read(parse: Parse) -> None:
    assert (
        parse("sample", {files.STATUS: '{"state": "failed", "error_kind": "input", "mood": "sad"}'})[1].exit_status
        == 200
    )


def test_labels_carry_their_level_and_cost_for_queries(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    inputs = {"frames": FramesData.from_frames(frames), "level": orm.Dict({})}
    outputs, _ = parse("label", {files.STATUS: status(), files.LABELS: lines(*map(label, frames))}, **inputs)
    attributes = outputs["frames"].base.attributes
    assert (attributes.get("level"), attributes.get("label_seconds")) == (level_key(Level()), 6.0)
    assert attributes.get("index") == "".join(f"|{key[:16]}" for key in frames.hashes)


def test_a_frame_that_lacked_memory_is_not_remembered_as_failed(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens(2)
    lacking = failure(frames[1]).model_copy(update={"error_kind": "resource", "message": "out of memory"})
    contents = {files.STATUS: status("partial"), files.LABELS: lines(label(frames[0]), lacking)}
    _, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 530
    codes = CalculationFactory("hqe.label").exit_codes
    assert codes.ERROR_SOME_LACKED_RESOURCES.invalidates_cache
    assert not codes.ERROR_SOME_FAILED.invalidates_cache


def test_a_failed_label_job_keeps_the_frames_it_finished(parse: Parse, status: MakeStatus) -> None:
    frames = hydrogens()
    contents = {
        files.STATUS: status("failed", error_kind="resource", message="no memory"),
        files.LABELS: lines(label(frames[0])),
    }
    outputs, node = parse("label", contents, frames=FramesData.from_frames(frames))
    assert node.exit_status == 410
    assert outputs["frames"].n_frames == 1


def test_a_sample_that_left_the_trust_region_is_kept(parse: Parse, status: MakeStatus, tmp_path: Path) -> None:
    sampled = content(tmp_path / "sampled.h5", hydrogens().write)
    contents = {files.STATUS: status("untrusted", message="too far"), files.SAMPLED: sampled, files.FINAL: b"state"}
    outputs, node = parse("sample", contents)
    assert node.exit_status == 500
    assert "too far" in node.exit_message
    assert outputs["frames"].n_frames == 3
    assert outputs["assembly"].content == b"state"


def test_a_finished_sample_is_put_out(parse: Parse, status: MakeStatus, tmp_path: Path) -> None:
    sampled = content(tmp_path / "sampled.h5", hydrogens().write)
    outputs, node = parse("sample", {files.STATUS: status(), files.SAMPLED: sampled, files.FINAL: b"state"})
    assert node.is_finished_ok
    assert set(outputs) == {"frames", "assembly", "status"}


def test_trained_members_are_put_out_without_torch(parse: Parse, status: MakeStatus) -> None:
    trained = save({"member.0.environment.w": np.zeros(3)}, {"hqe": json.dumps(HEADER)})
    contents = {files.STATUS: status(), files.TRAINED: trained, files.HISTORY: '[[{"epoch": 1}]]'}
    outputs, node = parse("train", contents)
    assert node.is_finished_ok
    assert outputs["committee"].n_members == 1
    assert outputs["history"].get_dict() == {"members": [[{"epoch": 1}]]}


def test_a_loss_that_was_not_finite_on_the_way_is_no_number_of_the_history(parse: Parse, status: MakeStatus) -> None:
    """A training that went back to its best state succeeds, and AiiDA stores no infinity."""
    trained = save({"member.0.environment.w": np.zeros(3)}, {"hqe": json.dumps(HEADER)})
    history = json.dumps([[{"epoch": 1, "validation": math.inf, "energy_per_atom": math.nan}]])
    outputs, node = parse("train", {files.STATUS: status(), files.TRAINED: trained, files.HISTORY: history})
    assert node.is_finished_ok
    assert outputs["history"].get_dict() == {"members": [[{"epoch": 1, "validation": None, "energy_per_atom": None}]]}


def test_predictions_are_put_out(parse: Parse, status: MakeStatus, tmp_path: Path) -> None:
    arrays = {"forces": np.zeros((2, 2, 3)), "mm_forces": np.zeros((2, 0, 3)), "energies": np.zeros(2)}
    both = arrays | {f"environment_{name}": array for name, array in arrays.items()}
    predictions = [Prediction(frame=frame.hash, **both) for frame in hydrogens()]
    found = content(tmp_path / "predictions.h5", lambda path: hdf5.write_predictions(path, predictions))
    outputs, node = parse("predict", {files.STATUS: status(), files.PREDICTIONS: found})
    assert node.is_finished_ok
    assert outputs["predictions"].content == found


def test_residuals_are_put_out_and_damaged_ones_are_not(parse: Parse, status: MakeStatus, tmp_path: Path) -> None:
    none = np.zeros(0)
    of_none = Residuals(
        frames=[], level="environment", energy_level=None, force_method=None, force_errors=none, disagreements=none,
        member_errors=none, energy_errors=none, energy_disagreements=none, energies=none, shown_forces=[], shown_mm_forces=[],
    )  # fmt: skip
    found = content(tmp_path / "residuals.h5", lambda path: write_residuals(path, of_none))
    outputs, node = parse("predict", {files.STATUS: status(), files.PREDICTIONS: found})
    assert node.is_finished_ok
    assert outputs["predictions"].content == found
    assert parse("predict", {files.STATUS: status(), files.PREDICTIONS: found[:-100]})[1].exit_status == 320


def test_a_prepared_assembly_is_put_out(parse: Parse, status: MakeStatus) -> None:
    outputs, node = parse("prepare", {files.STATUS: status(), files.FINAL: b"assembly"})
    assert node.is_finished_ok
    assert outputs["assembly"].content == b"assembly"
