"""Work for a real daemon, in a process of its own: ``python load_process.py {stand|children|statistics} FOLDER``.

It makes a profile, starts the daemon, and prints what came of it as JSON. It shares nothing with the AiiDA of the tests.
"""

from __future__ import annotations

import fcntl
import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cheap_campaign import CHEAP, SYSTEM
from load_cases import LEVEL, frames, stand_in

from aiida_hqe.cli import profile, services, slots
from aiida_hqe.errors import ResourceError

LIMIT = 3600.0
"""Seconds after which it is given up."""

SMALL: dict[str, Any] = CHEAP | {"sampling": CHEAP["sampling"] | {"initial_frames": 6, "initial_steps": 60}}


def main(what: str, folder: Path) -> None:
    """Do what is asked for in the profile of `folder`."""
    profile.enter(folder)
    code = profile.open_profile()
    print(json.dumps({"stand": stand, "children": children, "statistics": statistics}[what](folder, code)))


def stand(folder: Path, code: Any) -> dict[str, Any]:
    """A campaign on two slots, which stands still; then on as many as it needs, until its first labels are there."""
    from aiida.engine import submit

    import aiida_hqe.campaign
    from aiida_hqe.workchains.campaign import CampaignWorkChain

    template = Path(aiida_hqe.campaign.__file__).parent / "templates" / "methanol-water"
    set_slots(2)
    start_daemon()
    node = submit(CampaignWorkChain.get_builder_from_protocol(code, SYSTEM, template, "fast", SMALL))
    until(lambda: slots.stalled(2))
    found: dict[str, Any] = {"stood": active(), "doctor": [f.__dict__ for f in slots.examine()], "refused": refused()}
    set_slots(slots.needed(1))
    verdi("daemon", "stop")
    start_daemon()
    until(lambda: node.is_terminated or called(node, "LabelWorkChain"))
    found["after"] = [f.__dict__ for f in slots.examine()]
    verdi("daemon", "stop")
    return found | {"ended": {label: called(node, label) for label in ("SampleWorkChain", "LabelWorkChain")}}


def called(node: Any, label: str) -> list[int]:
    """Exit codes of the work chains of a kind that a campaign called, and that have ended."""
    return [child.exit_status for child in node.called if child.process_label == label and child.is_terminated]


def children(folder: Path, code: Any) -> dict[str, Any]:
    """More jobs of one work chain than there are slots, and as many at a time as these allow."""
    from aiida import orm
    from aiida.engine import submit
    from aiida.plugins import WorkflowFactory

    from aiida_hqe.data.frames import FramesData

    batch = frames(12)
    script = stand_in(folder / "stand-in", batch)
    code = orm.InstalledCode(label="stand-in", computer=code.computer, filepath_executable=str(script)).store()
    inputs = {"frames": FramesData.from_frames(batch), "level": orm.Dict(LEVEL), "batches": orm.Int(12)}
    set_slots(8)
    with (folder / "stand-in" / "gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        start_daemon()
        node = submit(WorkflowFactory("hqe.label"), code=code, **inputs)
        until(lambda: len(list((folder / "stand-in" / "began").iterdir())) == 7)
        held, stood = active(), slots.stalled(8)
        fcntl.flock(gate, fcntl.LOCK_UN)
    until(lambda: node.is_terminated)
    verdi("daemon", "stop")
    jobs = Counter(str(job.exit_status) for job in node.called if isinstance(job, orm.CalcJobNode))
    labelled = node.outputs.frames.frames.hashes == batch.hashes
    return {"held": held, "stood": stood, "ended": node.exit_status, "jobs": jobs, "labelled": labelled}


def statistics(folder: Path, code: Any) -> dict[str, Any]:
    """What doctor says of a daemon started here, of one that `verdi` started, and of that once it is repaired."""

    def told() -> list[dict[str, Any]]:
        return [finding.__dict__ for finding in services.look_at_statistics()]

    start_daemon()
    found: dict[str, Any] = {"own": told()}
    verdi("daemon", "stop")
    verdi("daemon", "start")
    until(told)  # its supervisor starts one process after the other
    found["of the user"] = told()
    repair = shlex.split(found["of the user"][0]["repair"])
    until(lambda: subprocess.run(repair, stdout=subprocess.DEVNULL, check=False).returncode == 0)
    until(lambda: not told())
    found["repaired"] = told()
    verdi("daemon", "stop")
    return found


def refused() -> str:
    """What is said where one more campaign is to be submitted."""
    try:
        slots.require_room()
    except ResourceError as error:
        return str(error)
    return ""


def set_slots(number: int) -> None:
    """Slots of each worker, for this process and for a daemon that is started later."""
    from aiida.manage.configuration import get_config

    get_config().set_option("daemon.worker_process_slots", number, scope=profile.NAME)
    get_config().store()


def start_daemon() -> None:
    """Start a daemon of one worker, and wait for its broker."""
    from aiida.engine.daemon.client import get_daemon_client

    profile.start(get_daemon_client(), 1)


def verdi(*words: str) -> None:
    """Run ``verdi``."""
    subprocess.run([str(profile.scripts() / "verdi"), *words], check=True, stdout=subprocess.DEVNULL)


def until(what: Callable[[], Any]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + LIMIT
    while not what():
        if time.monotonic() > limit:
            raise TimeoutError(f"waited in vain: {active()}")
        time.sleep(0.3)


def active() -> dict[str, int]:
    """Processes that have not ended: how many in each state, by label."""
    from aiida import orm

    filters = {"attributes.process_state": {"!in": ["finished", "excepted", "killed"]}}
    query = orm.QueryBuilder().append(
        orm.ProcessNode, filters=filters, project=["attributes.process_label", "attributes.process_state"]
    )
    return dict(Counter(f"{label} {state}" for label, state in query.all()))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
