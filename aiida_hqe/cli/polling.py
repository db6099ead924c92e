"""How often AiiDA looks at running jobs: a look that comes too often takes the processor from the jobs themselves."""

from __future__ import annotations

from collections.abc import Iterator

from aiida_hqe.cli.services import Finding, job_codes

LOOK = 0.04
"""Processor seconds of AiiDA for one look at one job (benchmarks/load): it writes down what it sees."""

OFTEN = 0.5
"""Seconds between two looks below which they are worth a warning; AiiDA's default for ``core.local`` is 0.1 s."""


def examine() -> Iterator[Finding]:
    """Computers of the codes whose jobs are looked at too often."""
    for computer in {code.computer.pk: code.computer for code in job_codes()}.values():
        interval = computer.get_minimum_job_poll_interval()
        if interval < OFTEN:
            part = f"{LOOK / interval:.0%} of a processor for each job" if interval else "all that a processor can"
            yield Finding(
                f"computer {computer.label}", "optional", f"AiiDA looks at its jobs every {interval:g} s, which takes {part}",
                f"in verdi shell: load_computer('{computer.label}').set_minimum_job_poll_interval(10)",
            )  # fmt: skip
