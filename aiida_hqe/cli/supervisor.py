"""The supervisor of AiiDA's daemon takes statistics of its processes, which nothing reads and no option of AiiDA forbids.

They may be stopped while the daemon runs, and come back when it starts anew; everything else of it works without.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida.engine.daemon.client import DaemonClient

STATISTICS = "circusd-stats"
"""What the supervisor calls the process that takes them."""

SHARE = 0.02
"""Part of a processor that they take (benchmarks/load)."""


PATIENCE = 30.0
"""Seconds that a supervisor has to start its processes, before which it stops none; then they stay: they do no harm."""


def quieten(client: DaemonClient) -> None:
    """Stop the statistics of a daemon that runs; where its supervisor is still busy starting, as soon as it is not.

    Raises
    ------
    aiida.engine.daemon.client.DaemonException
        The daemon does not answer.
    """
    until = time.monotonic() + PATIENCE
    stop = {
        "command": "stop",
        "properties": {"name": STATISTICS, "waiting": True},
    }  # while it stops, it does nothing else
    while client.call_client(stop).get("status") != "ok":
        if time.monotonic() > until:
            return
        time.sleep(0.2)


def takes_statistics(client: DaemonClient) -> bool:
    """Whether the supervisor of a daemon that runs takes them; raises as `quieten`."""
    answer = client.call_client({"command": "status", "properties": {"name": STATISTICS}})
    return bool(answer.get("status") == "active")


def stop_command(client: DaemonClient) -> str:
    """What does as `quieten`, in a shell."""
    return f"circusctl --endpoint {client.get_controller_endpoint()} stop {STATISTICS} --waiting"
