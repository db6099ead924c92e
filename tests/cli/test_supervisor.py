"""Statistics of a daemon are stopped as soon as its supervisor takes commands, and left where it never does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aiida_hqe.cli import supervisor


class Circus:
    """Answers as circus does: busy for some time, then with what it did."""

    def __init__(self, busy: int) -> None:
        self.busy, self.asked = busy, list[dict[str, Any]]()

    def call_client(self, command: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(command)
        busy = len(self.asked) <= self.busy
        return {"status": "error", "reason": "arbiter is already running"} if busy else {"status": "ok"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where it is slept."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(supervisor, "time", clock)


@pytest.mark.parametrize("busy", [0, 3])
def test_a_supervisor_that_is_starting_is_asked_again_and_waited_for(busy: int) -> None:
    circus = Circus(busy)
    supervisor.quieten(circus)  # type: ignore[arg-type]
    assert len(circus.asked) == busy + 1
    assert circus.asked[-1] == {"command": "stop", "properties": {"name": "circusd-stats", "waiting": True}}


def test_a_supervisor_that_stays_busy_keeps_its_statistics() -> None:
    circus = Circus(10**6)
    supervisor.quieten(circus)  # type: ignore[arg-type]
    assert 2 <= len(circus.asked) <= 1 + supervisor.PATIENCE / 0.2 + 1


def test_a_daemon_starts_though_its_supervisor_does_not_answer() -> None:
    from aiida.engine.daemon.client import DaemonTimeoutException

    def call_client(_: dict[str, Any]) -> dict[str, Any]:
        raise DaemonTimeoutException("Connection to the daemon timed out.")

    supervisor.quieten(SimpleNamespace(call_client=call_client))  # type: ignore[arg-type]
