"""`Deadline`: whether a job has time for one more step of the length of its longest, so that it ends before it is killed."""

from __future__ import annotations

import os
import resource
import time

WALLTIME = "HQE_WALLTIME"
"""Environment variable with the wall time (s) that the scheduler gives the job."""

MARGIN = 0.95
"""Part of its time that a job uses; the rest is for starting, and for writing its end."""


class Deadline:
    """Limits of wall time (`WALLTIME`) and of processor time (``ulimit -t``), as far as there are any."""

    def __init__(self) -> None:
        self._limits = _limits()
        self._marks = _clocks()
        self._longest = [0.0, 0.0]

    def step(self) -> None:
        """Say that a step has ended now."""
        now = _clocks()
        self._longest = [
            max(before, end - start) for before, start, end in zip(self._longest, self._marks, now, strict=True)
        ]
        self._marks = now

    def allows_another(self) -> bool:
        """Whether a step as long as the longest so far ends in time; the first one is always begun."""
        spent = zip(_clocks(), self._longest, self._limits, strict=True)
        return all(now + longest <= MARGIN * limit for now, longest, limit in spent if longest)


def _clocks() -> list[float]:
    """Wall time and processor time (s) since this process began."""
    return [time.time() - _BEGAN, time.process_time()]


def _limits() -> list[float]:
    wall, processor = os.environ.get(WALLTIME, ""), resource.getrlimit(resource.RLIMIT_CPU)[0]
    return [
        float(wall) if wall.replace(".", "", 1).isdigit() else float("inf"),
        float("inf") if processor == resource.RLIM_INFINITY else float(processor),
    ]


_BEGAN = time.time() - time.process_time()
"""When this process began, nearly: its imports are processor time."""
