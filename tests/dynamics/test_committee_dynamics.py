"""Dynamics driven by a real committee of networks, trained here on a potential with known derivatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aiida_hqe.dynamics.sample import sample
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import run
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.train import train_member

from .conftest import Springs
from .test_runs import drift_and_noise, total_energies

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def committee(methanol: Assembly, sampling: SamplingSettings) -> Committee:
    """Two networks that know the springs well enough to keep methanol together."""
    springs = Springs(methanol.frame().positions)
    hot = sampling.model_copy(update={"temperature": 400.0})
    labelled = []
    for frame in sample(methanol, hot, springs, seed=1, steps=1000, interval=20).frames:
        answer = springs.evaluate(frame)
        labelled.append(
            frame.replace(
                environment_energy=answer.energy,
                environment_forces=answer.forces,
                environment_mm_forces=answer.mm_forces,
                info={},
            )
        )
    training = TrainingSettings(members=2, epochs=200)
    members = [train_member(Frames(labelled), PotentialSettings(), training, member=k, seed=1)[0] for k in range(2)]
    return Committee.merge(members)


def test_a_committee_conserves_energy_as_well_as_the_force_field(
    methanol: Assembly, sampling: SamplingSettings, committee: Committee
) -> None:
    relaxed = sample(methanol, sampling, committee, seed=5, steps=200, interval=200)
    assert relaxed.trusted
    mm, _, mm_noise = drift_and_noise(total_energies(methanol, sampling, None, 50), sampling)
    ml, error, ml_noise = drift_and_noise(total_energies(relaxed.assembly, sampling, committee, 50), sampling)
    assert ml_noise < 2.0 * mm_noise
    assert abs(ml) < abs(mm) + 3.0 * error


def test_sample_job_with_a_committee_stops_at_the_edge_of_trust(
    tmp_path: Path, methanol: Assembly, sampling: SamplingSettings, committee: Committee
) -> None:
    methanol.write(tmp_path / files.ASSEMBLY)
    committee.save(tmp_path / files.COMMITTEE)
    job = files.SampleJob(sampling=sampling, seed=5, steps=20, interval=10)
    files.write_settings(tmp_path, files.SETTINGS, job)
    assert run("sample", tmp_path) == 0
    frames = Frames.read(tmp_path / files.SAMPLED)
    assert [frame.info["step"] for frame in frames] == [10, 20]
    for frame in frames:
        members = np.array([frame.info["member_0"], frame.info["member_1"]], dtype=float)
        assert frame.info["disagreement"] == pytest.approx(np.sqrt((members**2).sum()), rel=1e-9)
    assert _status(tmp_path).state == "finished"
    strict = job.model_copy(update={"trust_disagreement": 1e-6})
    files.write_settings(tmp_path, files.SETTINGS, strict)
    assert run("sample", tmp_path) == 0
    assert _status(tmp_path).state == "untrusted"
    assert "disagreement reached" in (_status(tmp_path).message or "")
    assert _status(tmp_path).counts == {"steps": 1, "frames": 1}


def _status(directory: Path) -> files.Status:
    return files.Status.model_validate_json((directory / files.STATUS).read_text())
