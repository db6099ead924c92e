"""Why SLURM ended a job, where it keeps no accounts: its own lines in the standard error of the job."""

from __future__ import annotations

import pytest

from aiida_hqe.parsers.base import said_by_slurm


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("slurmstepd: error: *** JOB 12 ON node CANCELLED AT 2026-11-21T09:00:00 DUE TO TIME LIMIT ***", "walltime"),
        ("slurmstepd-node: error: StepId=12.batch exceeded memory limit (162480128 > 102400000), being killed", "memory"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch.", "memory"),
        ("slurmstepd: error: *** JOB 12 ON node CANCELLED AT 2026-11-21T09:00:00 DUE TO NODE FAILURE ***", "node failure"),
        ("slurmstepd: error: *** JOB 12 ON node CANCELLED AT 2026-11-21T09:00:00 ***", None),
    ],
)  # fmt: skip
def test_the_cause_is_found_below_what_the_job_wrote_itself(line: str, cause: str | None) -> None:
    assert said_by_slurm(f"UserWarning: a library is old\n{line}\n") == cause


def test_a_job_that_writes_of_memory_itself_was_not_ended_by_slurm() -> None:
    assert said_by_slurm("hqe-job label: exceeded memory limit\n") is None
