"""A GPU that fails in dynamics is a lack of the machine, not of trust in the committee; a run goes on from its checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from aiida_hqe.dynamics import sample as sampling_room
from aiida_hqe.dynamics.sample import sample
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.errors import DeviceError
from aiida_hqe.frames import Frame
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import run
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.qmmm.assembly import Assembly

from .conftest import Answer, Springs

SMALL = PotentialSettings(features=4, interactions=1, radial_functions=4)


class OnBrokenGPU(Springs):
    """Springs whose GPU fails when it is asked more often than this."""

    left = 0

    def evaluate(self, frame: Frame) -> Answer:
        self.left -= 1
        if self.left < 0:
            raise DeviceError("the device cuda failed (CUDA error: unspecified launch failure): choose another")
        return super().evaluate(frame)

    def alone(self, _: int) -> OnBrokenGPU:
        """One that does not fail."""
        one = copy.copy(self)
        one.left = 10_000
        return one


@pytest.mark.parametrize(("interval", "asked"), [(1, 30), (5, 1), (5, 3)], ids=["it drives", "watches", "keeps"])
def test_a_gpu_that_fails_ends_the_run_as_what_it_is(
    methanol: Assembly, sampling: SamplingSettings, interval: int, asked: int
) -> None:
    """Whether it fails where the committee drives, is asked now and then, or about a frame to keep."""
    driver = OnBrokenGPU(methanol.frame().positions)
    driver.left = asked
    settings = sampling.model_copy(update={"committee_interval": interval})
    with pytest.raises(DeviceError, match="unspecified launch failure"):
        sample(methanol, settings, driver, seed=1, steps=60, interval=10)


def test_what_was_sampled_before_stands_in_the_checkpoint(
    methanol: Assembly, sampling: SamplingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling_room, "WRITE_EVERY", 0.0)
    driver, path = OnBrokenGPU(methanol.frame().positions), tmp_path / files.CHECKPOINT
    driver.left = 30
    with pytest.raises(DeviceError):
        sample(methanol, sampling, driver, seed=1, steps=40, interval=10, checkpoint=path)
    driver.left = 10_000
    resumed = sample(methanol, sampling, driver, seed=1, steps=40, interval=10, checkpoint=path)
    asked = 10_000 - driver.left
    driver.left = 10_000
    whole = sample(methanol, sampling, driver, seed=1, steps=40, interval=10)
    assert asked < 10_000 - driver.left
    for one, other in zip(resumed.frames, whole.frames, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


def test_a_sample_job_without_its_gpu_says_so(
    methanol: Assembly, sampling: SamplingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(files.DEVICE, "cuda")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    methanol.write(tmp_path / files.ASSEMBLY)
    network = Network(build(SMALL, 0, seed=0).state_dict(), dict.fromkeys((1, 6, 8), 0.0), True)
    members = [Member(0, 1, {"environment": network})]
    committee = Committee(members, settings=SMALL, learn="direct", elements=[1, 6, 8], charge=0, spin=0)
    committee.save(tmp_path / files.COMMITTEE)
    files.write_settings(tmp_path, files.SETTINGS, files.SampleJob(sampling=sampling, seed=5, steps=40, interval=20))
    assert run("sample", tmp_path) == 1
    status = files.read_settings(tmp_path, files.STATUS, files.Status)
    assert (status.state, status.error_kind, status.cause) == ("failed", "resource", "device")
    assert "a GPU was expected for the device cuda" in str(status.message)
