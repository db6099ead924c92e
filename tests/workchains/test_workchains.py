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
    frames = hydrogens(0.70, 0.72, 0.74)
    chain = process("label", frames=FramesData.from_frames(frames), level=orm.Dict(LEVEL), batches=orm.Int(2))
    done = FramesData.from_frames(Frames([frames[0].replace(environment_energy=-31.0)]))
    chain.ctx.jobs = [ended(0, frames=done), ended(300)]
    assert chain.gather() is None
    assert chain.outputs["frames"].n_frames == 1
    assert set(chain.outputs["failed"].get_dict()) == set(frames.hashes[1:])


def test_no_label_at_all_is_an_exit_code_with_its_reason(process: Callable[..., Any]) -> None:
    frames = hydrogens(0.70)
    chain = process("label", frames=FramesData.from_frames(frames), level=orm.Dict(LEVEL), batches=orm.Int(1))
    chain.ctx.jobs = [ended(520, failed=orm.Dict({frames[0].hash: {"error_kind": "convergence", "message": "no SCF"}}))]
    code = chain.gather()
    assert (code.status, code.message) == (400, "no frame was labelled: no SCF")


def test_a_member_that_was_not_trained_ends_the_training(process: Callable[..., Any]) -> None:
    job = {"potential": {}, "training": {}, "members": [0, 1], "seed": 5}
    chain = process("train", frames=FramesData.from_frames(hydrogens(0.7)), settings=orm.Dict(job), batches=orm.Int(1))
    chain.ctx.jobs = [ended(400, message="the loss became NaN")]
    code = chain.assemble()
    assert code.status == 400
    assert "the loss became NaN" in code.message


def test_a_sample_without_a_frame_is_not_to_be_trusted(process: Callable[..., Any]) -> None:
    chain = process("sample", settings=sample_job(), assembly=orm.SinglefileData(__file__))
    chain.ctx.sampling = ended(500, frames=FramesData.from_frames(Frames()))
    assert chain.inspect().status == 410
    chain.ctx.sampling = ended(490)
    assert chain.inspect().status == 401


def test_a_sample_cut_short_is_kept(process: Callable[..., Any]) -> None:
    chain = process("sample", settings=sample_job(), assembly=orm.SinglefileData(__file__))
    chain.ctx.sampling = ended(500, frames=FramesData.from_frames(hydrogens(0.7)))
    assert chain.inspect() is None
    assert chain.outputs["frames"].n_frames == 1


def test_a_preparation_that_failed_ends_the_sampling(process: Callable[..., Any]) -> None:
    job = orm.Dict({"system": SYSTEM, "sampling": {}, "seed": 1})
    chain = process("sample", settings=sample_job(), prepare=job, files=orm.FolderData())
    chain.ctx.preparation = ended(400, message="the run exploded")
    code = chain.sample()
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


SYSTEM = {"topology": "h2.pdb", "forcefield": ["h2.xml"], "qm": {"atoms": [0, 1]}, "charge": 0}


def sample_job() -> orm.Dict:
    return orm.Dict({"sampling": {}, "seed": 1, "steps": 4, "interval": 2})
