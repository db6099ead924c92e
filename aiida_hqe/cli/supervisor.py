"""The supervisor of AiiDA's daemon takes statistics of its processes, which nothing reads and no option of AiiDA forbids.

They may be stopped while the daemon runs, and come back when it starts anew; everything else of it works without.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida.engine.daemon.client import DaemonClient

STATISTICS = "circusd-stats"
"""What the supervisor calls the process that takes them."""

SHARE = 0.02
"""Part of a processor that they take (benchmarks/load)."""

PATIENCE = 30.0
"""Seconds that a supervisor has to start its processes, before which it stops none. Statistics do no harm but their cost."""


def quieten(client: DaemonClient) -> None:
    """Stop the statistics of a daemon that runs, as soon as its supervisor is not busy starting; where it stays so, they stay."""
    from aiida.engine.daemon.client import DaemonException

    until = time.monotonic() + PATIENCE
    # waiting: while a supervisor stops one process it refuses all else, also to stop the daemon
    stop = {"command": "stop", "properties": {"name": STATISTICS, "waiting": True}}
    with contextlib.suppress(DaemonException):
        while client.call_client(stop).get("status") != "ok" and time.monotonic() < until:
            time.sleep(0.2)


def takes_statistics(client: DaemonClient) -> bool:
    """Whether the supervisor of a daemon that runs takes them.

    Raises
    ------
    aiida.engine.daemon.client.DaemonException
        The daemon does not answer.
    """
    answer = client.call_client({"command": "status", "properties": {"name": STATISTICS}})
    return bool(answer.get("status") == "active")


def stop_command(client: DaemonClient) -> str:
    """What does as `quieten`, in a shell."""
    return f"circusctl --endpoint {client.get_controller_endpoint()} stop {STATISTICS} --waiting"
