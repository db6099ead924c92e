"""Services that go away while a campaign runs, and jobs that SLURM ends: nothing is lost, and no label is computed twice."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from cheap_campaign import CHEAP
from installation import Installation, slurm, start, stop, until

from aiida_hqe.jobs.files import PROGRESS, counter

pytestmark = pytest.mark.services

REPORT = """
import json
node = orm.load_node({pk})
sets = {{name: node.outputs[name].frames.hashes for name in ("training_set", "held_out", "labels")}}
jobs = [job for job in node.called_descendants if job.process_label == "LabelCalculation"]
def told(job):
    counts = job.outputs.status.get_dict()["counts"] if "status" in job.outputs else {{}}
    options = {{"walltime": job.get_option("max_wallclock_seconds"), "memory": job.get_option("max_memory_kb")}}
    done = job.outputs.frames.n_frames if "frames" in job.outputs else 0
    return {{"exit": job.exit_status, "job": job.get_job_id(), "labelled": done, "reused": counts.get("reused"), **options}}
jobs = [told(job) for job in sorted(jobs, key=lambda job: job.pk)]
print(json.dumps({{"sets": sets, "jobs": jobs, "exit": node.exit_status}}))
"""


@dataclasses.dataclass
class Labelling:
    """A campaign on the cluster that is labelling its first set, and ends after it."""

    site: Installation
    pk: int
    before: set[Path]

    @property
    def files(self) -> list[Path]:
        """``labels.jsonl`` of its jobs that have begun."""
        return sorted(set(self.site.folder.glob("scratch-cluster/*/*/*/labels.jsonl")) - self.before)

    def jobs(self) -> list[psutil.Process]:
        """Processes of its jobs that run."""
        found = [process.info for process in psutil.process_iter(["cwd", "cmdline", "pid"])]
        folders = {str(file.parent) for file in self.files}
        return [
            psutil.Process(info["pid"])
            for info in found
            if info["cwd"] in folders and "label" in (info["cmdline"] or [])
        ]

    def halt(self) -> None:
        """Halt the jobs: they compute nothing more, and do not end."""
        for job in self.jobs():
            job.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for job in self.jobs():
            job.send_signal(signal.SIGCONT)

    @property
    def computed(self) -> list[str]:
        """Hash of each label that was computed, as often as it was."""
        return [json.loads(line)["frame"] for file in self.files for line in file.read_text().splitlines()]

    def ended(self) -> dict[str, Any]:
        """Wait for the end; what the campaign has then."""
        self.site.run("aiida-hqe", "watch", self.pk)
        found = json.loads(self.site.shell(REPORT.format(pk=self.pk)).splitlines()[-1])
        assert found["exit"] == 0
        assert sorted(self.computed) == sorted(found["sets"]["labels"])
        return found

    def job(self) -> str:
        """Number of its one job in SLURM."""
        return until("a job", lambda: slurm("squeue", "--noheader", "--states", "RUNNING", "--format", "%i").split())[0]


Begin = Callable[..., Labelling]


@pytest.fixture(scope="module")
def begin(production: Installation) -> Begin:
    """Begins campaigns on SLURM, each with labels of a level of its own, and halts its jobs when they have made some."""
    code = production.computer("cluster", "core.ssh_async", "core.slurm", host="hqe-cluster")
    begun: list[int] = []

    def labelling(labels: int = 2, **resources: Any) -> Labelling:
        radius = f"{0.001 * (1 + len(begun)):.3f} angstrom"  # another level, and next to no other numbers
        levels = CHEAP["levels"] | {"environment": CHEAP["levels"]["environment"] | {"charge_radius": radius}}
        before = set(production.folder.glob("scratch-cluster/*/*/*/labels.jsonl"))
        given = {"parallel_jobs": 2, "walltime": "10 min"} | resources
        running = Labelling(production, production.submit(code, levels=levels, resources=given), before)
        begun.append(running.pk)
        until("labels", lambda: len(running.computed) >= labels)
        running.halt()
        production.run("aiida-hqe", "stop", running.pk)  # ends after its labels: what is disturbed is their making
        return running

    return labelling


@pytest.fixture(scope="module")
def undisturbed(begin: Begin) -> dict[str, Any]:
    running = begin()
    running.resume()
    return running.ended()


DOWN = {
    "rabbitmq": "RabbitMQ does not answer at 127.0.0.1",
    "postgresql": "PostgreSQL does not answer at 127.0.0.1",
    "slurmctld": "its scheduler core.slurm does not",
    "sshd": "no connection to hqe-cluster",
}
"""What the doctor says of a service that is down."""


@pytest.mark.parametrize(
    ("service", "jobs_end"),
    [
        ("rabbitmq", "later"),
        ("rabbitmq", "meanwhile"),
        ("postgresql", "meanwhile"),
        ("slurmctld", "meanwhile"),
        ("sshd", "meanwhile"),
    ],
)
def test_a_restart_of_a_service_changes_no_set_and_repeats_no_label(
    begin: Begin, undisturbed: dict[str, Any], service: str, jobs_end: str
) -> None:
    running = begin()
    stop(service)
    if jobs_end == "meanwhile":
        running.resume()
    told = running.site.run("aiida-hqe", "doctor", code=1)
    if jobs_end == "meanwhile":
        until("all labels", lambda: len(running.computed) == 10 and not running.jobs())
    start(service)
    if service == "postgresql":  # AiiDA's worker does not recover from a lost transaction
        for command in (["daemon", "stop"], ["process", "repair"], ["daemon", "start", 1]):
            running.site.run("verdi", *command)
    running.resume()
    assert DOWN[service] in told
    assert running.ended()["sets"] == undisturbed["sets"]


def test_a_node_that_fails_costs_no_finished_label(begin: Begin, undisturbed: dict[str, Any]) -> None:
    running = begin(labels=3, parallel_jobs=1)
    number = running.job()
    slurm("scontrol", "update", "NodeName=localhost", "State=DOWN", "Reason=test")  # it comes back by itself
    until("its end", lambda: not running.jobs())
    finished = running.computed
    found = running.ended()
    assert found["sets"] == undisturbed["sets"]
    assert 3 <= len(finished) < len(running.computed)
    assert [job["job"] for job in found["jobs"]] == [number]
    assert found["jobs"][0]["reused"] == len(finished)


def test_a_job_that_slurm_ends_at_its_walltime_keeps_its_labels_and_the_next_gets_more(
    begin: Begin, undisturbed: dict[str, Any]
) -> None:
    running = begin(labels=3, parallel_jobs=1, walltime="1 min")
    found = running.ended()
    assert found["sets"] == undisturbed["sets"]
    assert [job["walltime"] for job in found["jobs"]] == [60, 120]
    assert [job["exit"] for job in found["jobs"]] == [501, 0]
    assert 3 <= found["jobs"][0]["labelled"] < 10


def test_a_job_that_slurm_ends_for_its_memory_is_given_more(begin: Begin, undisturbed: dict[str, Any]) -> None:
    running = begin(parallel_jobs=1, memory="100 MB")  # a label job of this level takes 160
    running.resume()
    found = running.ended()
    assert found["sets"] == undisturbed["sets"]
    assert [job["memory"] for job in found["jobs"]] == [100_000, 200_000]
    assert [job["exit"] for job in found["jobs"]] == [502, 0]


def test_status_counts_the_labels_of_a_job_that_runs_on_the_cluster(begin: Begin) -> None:
    running = begin(labels=3, parallel_jobs=1)
    until("its own count", lambda: has_counted(running))
    computed = len(running.computed), 10
    until("its labels", lambda: counted(running.site.run("aiida-hqe", "status", running.pk)) == computed)
    running.resume()
    running.ended()


def has_counted(running: Labelling) -> bool:
    """Whether the one halted job has counted all of its labels; one that was halted before it had goes on a little."""
    [file] = running.files
    if counter((file.parent / PROGRESS).read_text())[0] == len(running.computed):
        return True
    running.resume()
    running.halt()
    return False


def counted(status: str) -> tuple[int, int] | None:
    """Labels done, and all of them, in the line of `status`; none where no job has told of any."""
    done, _, total = status.partition("labelling ")[2].split()[0].rstrip(",").partition("/")
    return (int(done), int(total)) if int(done) else None
