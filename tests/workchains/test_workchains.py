from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from ended_processes import ended

from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame, Frames

LEVEL = {
    "environment": {"xc": "pbe", "basis": "sto-3g", "grid_level": 0},
    "core": {"method": "mp2"},
    "embedding": {"core_orbitals": [1]},
}
NO_SCF = {"error_kind": "convergence", "message": "no SCF"}


def hydrogens(*lengths: float) -> Frames:
    return Frames(
        Frame(
            numbers=[1, 1],
            positions=[[0, 0, 0], [length, 0, 0]],
            core=[1, 1],
            charge=0,
            spin=0,
            mm_numbers=[8],
            mm_positions=[[0, 3.0, 0]],
            mm_charges=[-0.5],
        )
        for length in lengths
    )


@pytest.fixture
def process(hqe_code: Any) -> Callable[..., Any]:
    """A workchain in memory, not run."""

    def make(name: str, **inputs: Any) -> Any:
        return instantiate_process(get_manager().get_runner(), WorkflowFactory(f"hqe.{name}"), code=hqe_code, **inputs)

    return make


def test_the_label_workchain_gives_the_numbers_of_the_library(hqe_code: Any) -> None:
    from aiida_hqe.embedding.label import label

    frames = hydrogens(0.72, 0.74, 0.05)  # the last two atoms overlap: that frame can only fail
    inputs = {"frames": FramesData.from_frames(frames), "level": orm.Dict(LEVEL), "batches": orm.Int(2)}
    outputs, node = run_get_node(WorkflowFactory("hqe.label"), code=hqe_code, **inputs)
    assert node.is_finished_ok
    assert list(outputs["failed"].get_dict()) == [frames[2].hash]
    assert outputs["failed"][frames[2].hash]["error_kind"] == "input"
    assert outputs["frames"].frames.hashes == frames.hashes[:2]
    for got in outputs["frames"].frames:
        expected = label(got.unlabelled(), Level.model_validate(LEVEL))
        assert got.energy == pytest.approx(expected.energy, abs=1e-10)
        assert got.environment_energy == pytest.approx(expected.environment_energy, abs=1e-10)
        np.testing.assert_allclose(got.environment_forces, expected.environment_forces, atol=1e-9)
        np.testing.assert_allclose(got.environment_mm_forces, expected.environment_mm_forces, atol=1e-9)


def test_a_killed_label_job_leaves_its_frames_quarantined(process: Callable[..., Any]) -> None:
    frames = hydrogens(0.81, 0.82, 0.83)
    chain = process("label", frames=FramesData.from_frames(frames), level=orm.Dict(LEVEL), batches=orm.Int(2))
    done = FramesData.from_frames(Frames([frames[0].replace(environment_energy=-31.0)]))
    chain.look_up()
    chain.ctx.jobs = [ended(0, frames=done), ended(300)]
    chain.inspect()
    assert chain.gather() is None
    assert chain.outputs["frames"].n_frames == 1
    assert set(chain.outputs["failed"].get_dict()) == set(frames.hashes[1:])


def test_a_frame_labelled_at_this_level_anywhere_is_taken_from_there(hqe_code: Any) -> None:
    frames = FramesData.from_frames(hydrogens(0.91, 0.92))
    inputs = {"code": hqe_code, "level": orm.Dict(LEVEL), "batches": orm.Int(2)}
    first, _ = run_get_node(WorkflowFactory("hqe.label"), frames=frames, **inputs)
    wanted = FramesData.from_frames(Frames(f.replace(info={"step": 5}) for f in hydrogens(0.92, 0.93, 0.91)))
    second, node = run_get_node(WorkflowFactory("hqe.label"), frames=wanted, **inputs)
    jobs = [child for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert [job.inputs.frames.frames.hashes for job in jobs] == [wanted.frames.hashes[1:2]]
    assert second["frames"].frames.hashes == wanted.frames.hashes
    old = {frame.hash: frame for frame in first["frames"].frames}
    for frame in (frame for frame in second["frames"].frames if frame.hash in old):
        assert frame.energy == old[frame.hash].energy
        assert frame.info["step"] == 5
    [reuse] = [child for child in node.called if child.process_label == "reuse"]
    earlier = [link.node for link in reuse.base.links.get_incoming() if link.link_label.startswith("earlier")]
    assert {creator.process_label for creator in (found.creator for found in earlier)} == {"LabelCalculation"}
    third, node = run_get_node(WorkflowFactory("hqe.label"), frames=wanted, **inputs)
    assert not [child for child in node.called if isinstance(child, orm.CalcJobNode)]
    assert third["frames"].frames == second["frames"].frames


def test_only_missing_frames_go_to_the_next_jobs_and_those_get_what_was_lacking(process: Callable[..., Any]) -> None:
    frames = hydrogens(0.84, 0.85, 0.86)
    limits = {"max_wallclock_seconds": 60, "max_memory_kb": 1000}
    inputs = {
        "frames": FramesData.from_frames(frames),
        "level": orm.Dict(LEVEL),
        "batches": orm.Int(2),
        "options": limits,
    }
    chain = process("label", **inputs)
    chain.look_up()
    assert chain.goes_on()
    done = FramesData.from_frames(Frames([frames[0].replace(environment_energy=-31.0)]))
    left = {"frames": frames.hashes[1:], "suspect": frames[1].hash, "cause": "walltime", "lacked": "walltime"}
    left["message"] = "too short"
    chain.ctx.jobs = [ended(501, frames=done, unfinished=orm.Dict(left))]
    chain.inspect()
    assert chain.goes_on()
    chain.deal()
    batches = {name: node.frames.hashes for name, node in chain.ctx.batches.items()}
    assert batches == {"batch_00": [frames[2].hash], "batch_01": [frames[1].hash]}
    assert chain.ctx.raised == {"max_wallclock_seconds": 120}
    lacking = {frames[1].hash: {"error_kind": "resource", "message": "out of memory"}}
    chain.ctx.jobs += [ended(520, failed=orm.Dict({frames[2].hash: NO_SCF})), ended(530, failed=orm.Dict(lacking))]
    chain.inspect()
    assert chain.ctx.raised == {"max_wallclock_seconds": 120, "max_memory_kb": 2000}
    assert not chain.goes_on()
    assert chain.gather() is None
    assert chain.outputs["failed"].get_dict() == {frames[1].hash: lacking[frames[1].hash], frames[2].hash: NO_SCF}


def test_jobs_that_never_begin_are_not_submitted_for_ever(process: Callable[..., Any]) -> None:
    frames = hydrogens(0.87)
    chain = process("label", frames=FramesData.from_frames(frames), level=orm.Dict(LEVEL), batches=orm.Int(1))
    chain.look_up()
    for _ in range(2):
        assert chain.goes_on()
        chain.ctx.jobs = [*chain.ctx.jobs, ended(300)]
        chain.inspect()
    assert not chain.goes_on()
    code = chain.gather()
    assert code.status == 410
    assert "ended without a result" in code.message


def test_no_label_at_all_is_an_exit_code_with_its_reason(process: Callable[..., Any]) -> None:
    frames = hydrogens(0.70)
    chain = process("label", frames=FramesData.from_frames(frames), level=orm.Dict(LEVEL), batches=orm.Int(1))
    chain.look_up()
    chain.ctx.jobs = [ended(520, failed=orm.Dict({frames[0].hash: NO_SCF}))]
    chain.inspect()
    assert not chain.goes_on()
    code = chain.gather()
    assert (code.status, code.message) == (400, "no frame was labelled: no SCF")


def test_a_member_that_was_not_trained_ends_the_training(process: Callable[..., Any]) -> None:
    job = {"potential": {}, "training": {}, "members": [0, 1], "seed": 5}
    chain = process("train", frames=FramesData.from_frames(hydrogens(0.7)), settings=orm.Dict(job), batches=orm.Int(1))
    chain.ctx.shares, chain.ctx.job_00 = {"job_00": orm.Dict(job)}, [ended(400, message="the loss became NaN")]
    assert not chain.tries_training()
    code = chain.assemble()
    assert code.status == 400
    assert "the loss became NaN" in code.message


def test_a_sample_without_a_frame_is_not_to_be_trusted(process: Callable[..., Any]) -> None:
    chain = process("sample", settings=sample_job(), assembly=orm.SinglefileData(__file__))
    chain.ctx.sampling = [ended(500, frames=FramesData.from_frames(Frames()))]
    assert chain.inspect().status == 410
    chain.ctx.sampling = [ended(490)]
    assert chain.inspect().status == 401


def test_a_sample_cut_short_is_kept(process: Callable[..., Any]) -> None:
    chain = process("sample", settings=sample_job(), assembly=orm.SinglefileData(__file__))
    chain.ctx.sampling = [ended(500, frames=FramesData.from_frames(hydrogens(0.7)))]
    assert chain.inspect() is None
    assert chain.outputs["frames"].n_frames == 1


def test_a_preparation_that_failed_ends_the_sampling(process: Callable[..., Any]) -> None:
    job = orm.Dict({"system": SYSTEM, "sampling": {}, "seed": 1})
    chain = process("sample", settings=sample_job(), prepare=job, files=orm.FolderData())
    chain.ctx.preparation = [ended(400, message="the run exploded")]
    assert not chain.tries_preparation()
    code = chain.prepared()
    assert code.status == 400
    assert "the run exploded" in code.message


def test_a_sample_needs_somewhere_to_start(process: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="an assembly, or prepare and files"):
        process("sample", settings=sample_job())


def test_held_out_labels_come_with_the_confidence_to_calibrate_at(process: Callable[..., Any]) -> None:
    job = {"potential": {}, "training": {}, "members": [0], "seed": 5}
    frames = FramesData.from_frames(hydrogens(0.7))
    with pytest.raises(ValueError, match="belong together"):
        process("train", frames=frames, held_out=frames, settings=orm.Dict(job), batches=orm.Int(1))


def test_cores_are_reserved_only_where_a_scheduler_does(process: Callable[..., Any], aiida_computer: Any) -> None:
    inputs = {
        "frames": FramesData.from_frames(hydrogens(0.7)),
        "level": orm.Dict(LEVEL),
        "batches": orm.Int(1),
        "threads": 4,
    }
    assert "resources" not in process("label", **inputs).job("batch")["metadata"]["options"]
    cluster = aiida_computer(label="cluster", scheduler_type="core.slurm")
    code = orm.InstalledCode(label="there", computer=cluster, filepath_executable="/bin/hqe-job").store()
    runner = get_manager().get_runner()
    there = instantiate_process(runner, WorkflowFactory("hqe.label"), code=code, **inputs)
    assert there.job("batch")["metadata"]["options"]["resources"]["num_cores_per_mpiproc"] == 4


def test_every_job_and_every_child_gets_the_device(process: Callable[..., Any]) -> None:
    frames = FramesData.from_frames(hydrogens(0.7))
    running = process("label", frames=frames, level=orm.Dict(LEVEL), batches=orm.Int(1), device="cuda")
    assert running.job("batch")["device"] == running.child("labels")["device"] == "cuda"


SYSTEM = {"topology": "h2.pdb", "forcefield": ["h2.xml"], "qm": {"atoms": [0, 1]}, "charge": 0}


def sample_job() -> orm.Dict:
    return orm.Dict({"sampling": {}, "seed": 1, "steps": 4, "interval": 2})
