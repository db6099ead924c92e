"""What AiiDA's own broker (ZeroMQ) leaves behind when it is killed, and whether the workers of a daemon hang on one that lives.

A broker listens at a new address each time it starts, and writes it into a file that a worker reads once, when it starts. A
broker that is killed leaves that file. A worker of the next daemon that comes to it before the next broker does then waits at
an address where nothing listens, and every process of the profile waits with it. A worker that goes on without a broker submits
to nobody: what it submits has no task, and no worker ever begins it, also when the next broker has come.
"""

from __future__ import annotations

import contextlib
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_hqe.errors import ResourceError

if TYPE_CHECKING:
    from aiida.manage.configuration import Profile

KIND = "core.zeromq"
"""Name of this broker among AiiDA's plugins."""

PATIENCE = 120.0
"""Seconds that a broker has to start: on a busy machine it takes longer than the ten that AiiDA waits for it."""

YOUNG = 30.0
"""Seconds after which the workers of a daemon hang on a broker that runs: that they do not yet is no fault before."""


def leftovers(profile: Profile) -> list[Path]:
    """Files of a broker of `profile` that does not run any more, empty where it runs or ended as it should."""
    if profile.process_control_backend != KIND:
        return []
    layout = _layout(profile)
    if _runs(layout):
        return []
    files = (layout.pid_file, layout.sockets_file, layout.status_file)
    return [path for path in files if path.is_file()]


def sweep(profile: Profile) -> None:
    """Remove `leftovers`, so that the workers of the next daemon wait for its broker."""
    for path in leftovers(profile):
        path.unlink(missing_ok=True)


def await_address(profile: Profile) -> None:
    """Wait until the broker of a daemon that was just started has written its address; nothing to wait for with another one.

    Raises
    ------
    ResourceError
        It did not in `PATIENCE` seconds.
    """
    layout, until = _layout(profile), time.monotonic() + PATIENCE
    while profile.process_control_backend == KIND and not (_runs(layout) and layout.sockets_file.is_file()):
        if time.monotonic() > until:
            raise ResourceError(
                f"the broker was expected to start within {PATIENCE:.0f} s: see {layout.log_file}, then start the daemon again"
            )
        time.sleep(0.1)


def workers(profile: Profile) -> int | None:
    """How many workers hang on the broker of `profile`, by its own count of the last seconds; ``None`` where none runs."""
    layout = _layout(profile)
    try:
        status = json.loads(layout.status_file.read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return int(status["task_subscribers"]) if _runs(layout) else None


def forgotten(profile: Profile) -> list[int]:
    """Pks of processes that were submitted and that nobody will begin: they have no task, though they are `YOUNG` no more."""
    from aiida import orm
    from aiida.common import timezone

    if profile.process_control_backend != KIND:
        return []
    held = _tasks(_layout(profile))  # before the states: a task lasts until its process has ended
    filters = {"attributes.process_state": "created", "mtime": {"<": timezone.now() - timedelta(seconds=YOUNG)}}
    query = orm.QueryBuilder().append(
        (orm.CalcJobNode, orm.WorkChainNode), filters=filters, project="id", tag="waiting"
    )
    return [pk for pk in query.order_by({"waiting": "id"}).all(flat=True) if pk not in held]


def age(profile: Profile) -> float | None:
    """How long (s) the broker of `profile` has run; ``None`` where it does not."""
    import psutil

    layout = _layout(profile)
    if not _runs(layout):
        return None
    return time.time() - psutil.Process(int(layout.pid_file.read_text().split()[-1])).create_time()


def _layout(profile: Profile) -> Any:
    from aiida.brokers.zeromq.service import ZeromqBrokerService
    from aiida.manage.configuration import get_config

    return ZeromqBrokerService.FilepathLayout(get_config().filepaths(profile)["broker_service"]["dir"])


def _tasks(layout: Any) -> set[int]:
    """Pks of the processes that have a task, pending or taken by a worker; only read: AiiDA's own class would move the files."""
    found = set()
    for stage in ("pending", "processing", "pending"):  # a task that moves meanwhile is seen in one of them
        for path in (layout.storage_path / "tasks" / stage).glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.add(int(json.loads(path.read_text())["body"]["args"]["pid"]))
    return found


def _runs(layout: Any) -> bool:
    """Whether the process of the pid file is this broker: after a reboot its number may be another's."""
    import psutil

    try:
        words = psutil.Process(int(layout.pid_file.read_text().split()[-1])).cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return False
    return str(layout.service_dir) in words
