"""The time of a job: whether there is enough for one more step (`Deadline`), and its end where there was not (`Watchdog`)."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

WALLTIME = "HQE_WALLTIME"
"""Environment variable with the wall time (s) that the scheduler gives the job."""

MARGIN = 0.95
"""Part of its time that a job uses; the rest is for starting, and for writing its end."""

LAST = 0.98
"""Part of its time after which a job ends whatever it is doing: it can still say why, which the scheduler's kill prevents."""


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


class Watchdog:
    """Ends this process when its wall time runs out, also where no scheduler does (AiiDA's ``core.direct`` has no limit).

    Parameters
    ----------
    last_words
        Called with the limit (s) before the end.
    """

    def __init__(self, last_words: Callable[[float], None]) -> None:
        self._limit = _limits()[0]
        self._last_words = last_words
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._limit < threading.TIMEOUT_MAX:
            left = max(0.0, LAST * self._limit - _clocks()[0])
            self._timer = threading.Timer(left, self._end)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        try:
            self._last_words(self._limit)
        finally:
            os._exit(1)


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
