"""Many processes at once: the slots of the daemon, what holds them, when nothing can go on for want of them; looks at jobs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiida_hqe.cli import polling, slots
from aiida_hqe.errors import ResourceError

Made = Callable[..., Any]


@pytest.fixture
def process(aiida_profile_clean: Any) -> Made:
    """Makes the node of a process in a state, called by another one."""
    from aiida import orm
    from aiida.common import LinkType

    def make(kind: str, state: str, caller: Any = None) -> Any:
        if kind == "job":
            node = orm.CalcJobNode(process_type="aiida.calculations:hqe.label")
        else:
            node = orm.WorkChainNode(process_type=f"aiida.workflows:{kind}")
        node.base.attributes.set("process_state", state)
        if caller is not None:
            link = LinkType.CALL_CALC if kind == "job" else LinkType.CALL_WORK
            node.base.links.add_incoming(caller, link, f"called_{kind.replace('.', '_')}")
        return node.store()

    return make


@pytest.fixture
def daemon_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Lets the daemon have so many workers of so many slots in all."""
    return lambda workers, there: monkeypatch.setattr(slots, "capacity", lambda: (workers, there))


def test_a_work_chain_holds_a_slot_and_one_is_left_for_a_job(process: Made) -> None:
    assert slots.needed_now() == 1
    first = process("hqe.campaign", "waiting")
    process("hqe.label", "waiting", first)
    assert slots.needed_now() == 3
    process("hqe.campaign", "created")
    assert slots.needed_now() == 5
    process("hqe.label", "running")
    assert slots.needed_now() == 6
    process("hqe.campaign", "finished")
    assert slots.needed_now() == 6


def test_work_chains_that_wait_in_all_slots_stand_still_until_there_is_one_more(process: Made) -> None:
    campaign = process("hqe.campaign", "waiting")
    sampling = process("hqe.sample", "waiting", campaign)
    process("job", "created", sampling)
    assert slots.stalled(2)
    assert not slots.stalled(3)


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_job_that_has_begun_ends_and_leaves_its_slot(process: Made, state: str) -> None:
    labelling = process("hqe.label", "waiting", process("hqe.campaign", "waiting"))
    process("job", state, labelling)
    assert not slots.stalled(3)


def test_a_work_chain_whose_job_has_ended_goes_on(process: Made) -> None:
    labelling = process("hqe.label", "waiting", process("hqe.campaign", "waiting"))
    process("job", "finished", labelling)
    process("hqe.label", "created")
    assert not slots.stalled(2)


def test_a_campaign_that_might_bring_all_to_a_stand_is_not_submitted(process: Made, daemon_of: Any) -> None:
    process("hqe.campaign", "waiting")
    daemon_of(1, 5)
    slots.require_room()
    daemon_of(1, 4)
    with pytest.raises(ResourceError, match=r"5 slots of the daemon .* \(got 4\): .*worker_process_slots 100; verdi"):
        slots.require_room()


@pytest.mark.parametrize(("there", "state"), [(2, "missing"), (3, "ok")])
def test_doctor_tells_a_standstill_from_work(process: Made, daemon_of: Any, there: int, state: str) -> None:
    labelling = process("hqe.label", "waiting", process("hqe.campaign", "waiting"))
    process("job", "created", labelling)
    daemon_of(1, there)
    (finding,) = slots.examine()
    assert finding.state == state
    assert (finding.repair is None) == (state == "ok")


def test_doctor_warns_before_the_slots_are_full(process: Made, daemon_of: Any) -> None:
    for _ in range(2):
        process("hqe.campaign", "running")
    daemon_of(2, 4)
    (finding,) = slots.examine()
    assert finding.state == "optional"
    assert "4, but" in finding.message
    assert "need 5" in finding.message


def test_nothing_is_said_of_the_slots_of_a_daemon_that_does_not_run(process: Made, daemon_of: Any) -> None:
    process("hqe.campaign", "running")
    daemon_of(0, 1)
    assert list(slots.examine()) == []


@pytest.mark.parametrize(
    ("interval", "part"), [(None, "40%"), (0.2, "20%"), (0.0, "all that a processor can"), (0.5, None)]
)
def test_doctor_tells_a_computer_whose_jobs_are_looked_at_too_often(
    aiida_profile_clean: Any, tmp_path: Path, interval: float | None, part: str | None
) -> None:
    from aiida import orm

    kinds = {"transport_type": "core.local", "scheduler_type": "core.direct"}
    computer = orm.Computer(label="mine", hostname="localhost", workdir=str(tmp_path), **kinds).store()
    if interval is not None:
        computer.set_minimum_job_poll_interval(interval)
    orm.InstalledCode(label="hqe-job", computer=computer, filepath_executable="/bin/hqe-job").store()
    findings = list(polling.examine())
    assert [finding.state for finding in findings] == ([] if part is None else ["optional"])
    assert all(part in finding.message for finding in findings if part)


@pytest.fixture
def run() -> Iterator[Callable[[str], dict[str, Any]]]:
    """Runs `load_process.py`; nothing of its profile is left at the end. The folder's path is short, for sockets' sake."""
    with tempfile.TemporaryDirectory(prefix="hqe-") as folder:
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIIDA", "XDG", "MPL", "TMPDIR"))
        }
        environment = kept | {"HOME": folder, "OMP_NUM_THREADS": "1"}
        script = Path(__file__).resolve().parent / "load_process.py"

        def start(what: str) -> dict[str, Any]:
            command = [sys.executable, "-W", "ignore", str(script), what, folder]
            ended = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert ended.returncode == 0, ended.stderr[-3000:]
            found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
            return found

        yield start
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if f"AIIDA_PATH={folder}".encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    process.kill()


@pytest.mark.slow
def test_a_campaign_stands_still_on_two_slots_and_goes_on_with_three(run: Callable[[str], dict[str, Any]]) -> None:
    found = run("stand")
    assert found["stood"] == {
        "CampaignWorkChain waiting": 1,
        "SampleWorkChain waiting": 1,
        "PrepareCalculation created": 1,
    }
    (finding,) = found["doctor"]
    assert finding["state"] == "missing"
    assert "nothing goes on" in finding["message"]
    assert "5 slots of the daemon were expected for one more campaign (got 2)" in found["refused"]
    assert [after["state"] for after in found["after"]] == ["ok"]
    assert found["ended"] == {"SampleWorkChain": [0], "LabelWorkChain": [0]}


@pytest.mark.slow
def test_more_jobs_than_slots_take_turns_and_all_end(run: Callable[[str], dict[str, Any]]) -> None:
    found = run("children")
    assert sum(number for process, number in found["held"].items() if not process.endswith("created")) == 8
    assert not found["stood"]
    assert found["ended"] == 0
    assert found["jobs"] == {"0": 12}
    assert found["labelled"]


@pytest.mark.slow
def test_nothing_takes_statistics_of_a_daemon_started_here_and_doctor_repairs_one_that_verdi_started(
    run: Callable[[str], dict[str, Any]],
) -> None:
    found = run("statistics")
    assert found["own"] == found["repaired"] == []
    (finding,) = found["of the user"]
    assert finding["state"] == "optional"
    assert "2% of a processor" in finding["message"]
