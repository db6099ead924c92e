"""The same campaign on a laptop's profile, on production services and on a SLURM cluster: the same provenance and numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from installation import Installation

from aiida_hqe.frames import Frames

pytestmark = pytest.mark.services

THREAD_NOISE = 1e-9
"""Energies (eV) of equal frames on equal software and one thread agree to round-off of 3000 eV."""


@pytest.fixture(scope="module")
def on_production(production: Installation) -> int:
    """Campaign on PostgreSQL and RabbitMQ, its jobs run by this machine."""
    return production.campaign(production.computer("localhost", "core.local", "core.direct"))


@pytest.fixture(scope="module")
def on_cluster(laptop: Installation) -> int:
    """Campaign of a laptop's profile, its jobs run by SLURM behind SSH."""
    return laptop.campaign(laptop.computer("cluster", "core.ssh_async", "core.slurm", host="hqe-cluster"))


def labels(installation: Installation, pk: int, tmp_path: Path) -> Frames:
    file = tmp_path / "labels.h5"
    installation.run("aiida-hqe", "export", "frames", pk, "-o", file, "--force")
    return Frames.read(file)


def test_a_campaign_runs_on_postgresql_and_rabbitmq(production: Installation, on_production: int) -> None:
    state = production.json("status", on_production)
    assert [item["round"] for item in state["rounds"]] == [0, 1]
    assert sum(item["labelled"] for item in state["rounds"]) >= 10


def test_a_campaign_runs_on_slurm_over_ssh(laptop: Installation, on_cluster: int) -> None:
    state = laptop.json("status", on_cluster)
    assert [item["round"] for item in state["rounds"]] == [0, 1]
    jobs = "orm.QueryBuilder().append(orm.CalcJobNode, project='attributes.job_id').all(flat=True)"
    assert all(number.isdigit() for number in laptop.shell(f"print(*{jobs})").split())


def test_where_a_job_runs_changes_no_label(
    production: Installation, on_production: int, laptop: Installation, on_cluster: int, tmp_path: Path
) -> None:
    here, there = labels(production, on_production, tmp_path), labels(laptop, on_cluster, tmp_path)
    first = 10  # of the force field's dynamics, which both campaigns share to the last bit
    assert here.hashes[:first] == there.hashes[:first]
    for one, other in zip(here[:first], there[:first], strict=True):
        assert one.energy == pytest.approx(other.energy, abs=THREAD_NOISE)
        assert one.environment_energy == pytest.approx(other.environment_energy, abs=THREAD_NOISE)


def test_every_labelled_frame_knows_its_lineage_on_either(
    production: Installation, on_production: int, laptop: Installation, on_cluster: int, tmp_path: Path
) -> None:
    for installation, pk in ((production, on_production), (laptop, on_cluster)):
        last = labels(installation, pk, tmp_path).hashes[-1]
        told = installation.json("why", last)
        assert told["campaign"] == pk
        assert told["round"] == 1
        assert told["bound"] > 0.02
        assert told["committee"]


def test_an_archive_from_postgresql_answers_the_same_on_sqlite(
    production: Installation, on_production: int, laptop: Installation, tmp_path: Path
) -> None:
    archive, frames = tmp_path / "campaign.aiida", labels(production, on_production, tmp_path)
    production.run("aiida-hqe", "export", "archive", on_production, "-o", archive)
    laptop.run("aiida-hqe", "import", archive)
    uuid = production.json("status", on_production)["uuid"]
    moved = laptop.json("status", uuid)
    assert moved["rounds"] == production.json("status", on_production)["rounds"]
    again = tmp_path / "again.h5"
    laptop.run("aiida-hqe", "export", "frames", uuid, "-o", again)
    assert again.read_bytes() == (tmp_path / "labels.h5").read_bytes()
    for extract in ("committee", "calibration"):
        assert (
            production.json("why", frames.hashes[-1])[extract]
            == laptop.json("why", f"{moved['pk']}:{len(frames) - 1}")[extract]
        )


def test_the_doctor_finds_nothing_to_repair(production: Installation, on_production: int) -> None:
    told = production.run("aiida-hqe", "doctor")
    assert "core.rabbitmq" in told or "RabbitMQ" in told
