"""Training happens where the network is, and what it brings is on the processor again.

As in ``tests/potentials/test_device.py`` no GPU is needed: where PyTorch makes tensors on ``meta`` unless it is told another
place, one that is made without naming the device of its inputs has no numbers. The test on a GPU runs where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from network_kinds import ELSEWHERE, KINDS
from training_cases import SHORT, SMALL

from aiida_hqe.errors import DeviceError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import run
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training import train as trainings
from aiida_hqe.training.batches import Block, blocks
from aiida_hqe.training.difference import _rows
from aiida_hqe.training.objective import Objective
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import targets
from aiida_hqe.training.train import train_member


@pytest.fixture(params=KINDS, ids=lambda kind: " ".join(kind.values()))
def settings(request: pytest.FixtureRequest) -> PotentialSettings:
    return SMALL.model_copy(update=request.param)


def chain(atoms: int, seed: int) -> Frame:
    """Atoms on a disturbed chain with three charges and made-up labels."""
    generator, line = np.random.default_rng(seed), np.arange(atoms)
    positions = np.stack([1.2 * line, np.sin(line), np.cos(2 * line)], axis=1) + generator.normal(0.0, 0.1, (atoms, 3))
    return Frame(
        numbers=np.resize([6, 1, 1, 8], atoms),
        positions=positions,
        charge=0,
        spin=0,
        mm_numbers=[8, 1, 1],
        mm_positions=positions[:3] + np.array([0.0, 3.0, 1.0]),
        mm_charges=[-0.8, 0.4, 0.4],
        environment_energy=float(generator.normal()),
        environment_forces=generator.normal(size=(atoms, 3)),
        environment_mm_forces=generator.normal(size=(3, 3)),
    )


def block_of(atoms: int, settings: PotentialSettings) -> Block:
    frames = [chain(atoms, seed) for seed in range(2)]
    wanted = [targets(frame, "environment") for frame in frames]
    (block,) = blocks(frames, wanted, np.zeros(2), torch.float32, settings)
    return block


@pytest.mark.parametrize("atoms", [4, 12], ids=["lists of pairs", "all pairs"])
def test_a_step_and_a_validation_make_nothing_on_another_device(settings: PotentialSettings, atoms: int) -> None:
    """PaiNN of twelve atoms is trained by `BatchedPaiNN`."""
    block, network = block_of(atoms, settings), build(settings, 0, seed=1).float()
    objective = Objective(network, TrainingSettings())
    flat, step = objective.flatten(network), objective._function(block.numbers)
    expected = *step(flat, network.scale, *block.tensors), *objective.errors(flat, block)
    with ELSEWHERE:
        found = *step(flat, network.scale, *block.tensors), *objective.errors(flat, block)
    assert expected[1].norm() > 1e-3
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("atoms", [4, 12], ids=["lists of pairs", "all pairs"])
def test_a_step_happens_where_the_network_is(settings: PotentialSettings, atoms: int) -> None:
    """A tensor left behind on the processor would be refused beside those that moved."""
    block, network = block_of(atoms, settings).to(ELSEWHERE), build(settings, 0, seed=1).float().to(ELSEWHERE)
    objective = Objective(network, TrainingSettings())
    flat = objective.flatten(network)
    found = objective._function(block.numbers)(flat, network.scale, *block.select([1, 0]).tensors)
    assert {tensor.device for tensor in (*found, *objective.errors(flat, block))} == {ELSEWHERE}


def test_a_difference_is_fitted_with_features_from_the_networks_device(settings: PotentialSettings) -> None:
    frame, potential = chain(4, 0), build(settings, 0, seed=1).double()
    wanted, weights = targets(frame, "environment"), TrainingSettings()
    expected = _rows(potential, frame, wanted, weights)
    with ELSEWHERE:
        found = _rows(potential, frame, wanted, weights)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that asks for a GPU on a machine that has none."""
    monkeypatch.setenv(files.DEVICE, "cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def write_job(directory: Path) -> None:
    Frames(chain(4, seed) for seed in range(4)).write(directory / files.FRAMES)
    brief = SHORT.model_copy(update={"epochs": 1})
    files.write_settings(
        directory, files.SETTINGS, files.TrainJob(potential=SMALL, training=brief, members=[0, 1], seed=3)
    )


def ended(directory: Path) -> files.Status:
    status = files.read_settings(directory, files.STATUS, files.Status)
    assert (status.state, status.error_kind, status.cause) == ("failed", "resource", "device")
    return status


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("job", ["train", "predict"])
def test_a_job_without_its_gpu_says_so_and_begins_nothing(job: str, tmp_path: Path) -> None:
    write_job(tmp_path)
    if job == "predict":
        member = Member(0, 1, {"environment": Network(build(SMALL, 0, seed=0).state_dict(), {1: 0.0}, True)})
        committee = Committee([member], settings=SMALL, learn="direct", elements=[1], charge=0, spin=0)
        committee.save(tmp_path / files.COMMITTEE)
    assert run(job, tmp_path) == 1
    assert "a GPU was expected for the device cuda" in str(ended(tmp_path).message)
    assert not (tmp_path / files.TRAINED).exists()


def test_members_finished_before_a_gpu_failed_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second member's training finds the GPU full."""
    write_job(tmp_path)
    fitted = trainings.fit

    def fit(*arguments: Any, **options: Any) -> Any:
        if (tmp_path / files.TRAINED).exists():
            raise DeviceError("the device cuda failed (CUDA out of memory): choose another")
        return fitted(*arguments, **options)

    monkeypatch.setattr(trainings, "fit", fit)
    assert run("train", tmp_path) == 1
    assert "CUDA out of memory" in str(ended(tmp_path).message)
    assert [member.number for member in Committee.load(tmp_path / files.TRAINED).members] == [0]


def test_a_gpu_that_fails_in_training_is_a_lack_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(trainings, "find", torch.device)
    monkeypatch.setattr(trainings, "fit", fit)
    with pytest.raises(DeviceError, match=r"CUDA out of memory.*training\.batch_size"):
        train_member(Frames(chain(4, seed) for seed in range(4)), SMALL, SHORT, member=0, seed=1, device=ELSEWHERE)


def test_a_job_says_where_its_networks_computed(tmp_path: Path) -> None:
    write_job(tmp_path)
    assert run("train", tmp_path) == 0
    assert files.read_settings(tmp_path, files.STATUS, files.Status).device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
def test_a_committee_trained_on_a_gpu_is_that_of_the_processor(methanol: Frames) -> None:
    """Five passes from the same weights over the same batches, in each precision.

    Of forces of 1 eV/angstrom round-off is 6e-8 in single and 1e-16 in double precision. Weights that are disturbed by as much
    lead, on the processor, to forces that differ by twice as much; sums in another order, in every step, may make it a hundred
    times as much in single precision; in double precision all of it is below 1e-11.
    """
    brief = SHORT.model_copy(update={"epochs": 5, "target_epochs": 5})
    for precision, tolerance in (("float64", 1e-11), ("float32", 1e-5)):
        settings = brief.model_copy(update={"precision": precision})
        here, there = (
            train_member(methanol, SMALL, settings, member=0, seed=1, device=device)[0] for device in ("cpu", "cuda")
        )
        assert {tensor.device.type for one in there.members[0].networks.values() for tensor in one.state.values()} == {
            "cpu"
        }
        one, other = here.predict(methanol[0]), there.predict(methanol[0])
        np.testing.assert_allclose(other.forces, one.forces, rtol=0.0, atol=tolerance)
        np.testing.assert_allclose(other.mm_forces, one.mm_forces, rtol=0.0, atol=tolerance)
