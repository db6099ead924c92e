"""AiiDA's own broker after it was killed: what it left is found, and taken away before the next daemon starts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiida import orm
from aiida.engine import ProcessState
from plumpy.process_comms import create_continue_body

from aiida_hqe.cli import broker, profile, services
from aiida_hqe.errors import ResourceError


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A profile whose broker keeps its files in a folder of this test."""
    (tmp_path / "broker").mkdir()
    config = SimpleNamespace(filepaths=lambda _: {"broker_service": {"dir": tmp_path / "broker"}})
    monkeypatch.setattr("aiida.manage.configuration.get_config", lambda: config)
    monkeypatch.setattr("aiida.engine.daemon.client.get_daemon_client", lambda: None)
    monkeypatch.setattr(profile, "running", lambda _: True)
    monkeypatch.setattr(broker, "forgotten", lambda _: [])
    return SimpleNamespace(process_control_backend="core.zeromq")


def written(folder: Path, pid: int, subscribers: int = 1) -> list[Path]:
    """Files as the broker of process `pid` writes them."""
    texts = {
        "broker.pid": f"aiida-zeromq-broker {pid}",
        "broker.sockets": "/tmp/aiida_zeromq_x",
        "broker.status": json.dumps({"task_subscribers": subscribers}),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return sorted(folder / name for name in texts)


@pytest.fixture
def living(tmp_path: Path) -> Iterator[int]:
    """A process that names the folder of the broker among its words, as the broker does."""
    command = [sys.executable, "-c", "print(flush=True); input()", str(tmp_path / "broker")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # before that its words may not be known to the system
        yield process.pid
        process.kill()


@pytest.fixture
def other() -> Iterator[int]:
    """A process that has nothing to do with it: it got the number of one that was killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def test_what_a_killed_broker_left_is_found_and_removed(loaded: Any, tmp_path: Path, other: int) -> None:
    folder = tmp_path / "broker"
    assert broker.leftovers(loaded) == []
    files = written(folder, other)
    assert sorted(broker.leftovers(loaded)) == files
    found = services.look_at_own_broker(loaded)
    assert found.state == "missing"
    assert all(str(path) in str(found.repair) for path in files)
    broker.sweep(loaded)
    assert list(folder.iterdir()) == []
    assert services.look_at_own_broker(loaded).state == "ok"


def test_files_of_a_broker_that_runs_are_left_alone(loaded: Any, tmp_path: Path, living: int) -> None:
    files = written(tmp_path / "broker", living)
    broker.sweep(loaded)
    assert sorted((tmp_path / "broker").iterdir()) == files
    assert services.look_at_own_broker(loaded).state == "ok"


def test_a_broker_without_workers_is_told_with_what_brings_them_back(
    loaded: Any, tmp_path: Path, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "broker", living, subscribers=0)
    assert broker.workers(loaded) == 0
    monkeypatch.setattr(broker, "YOUNG", 0.0)
    found = services.look_at_own_broker(loaded)
    assert (found.state, found.repair) == ("missing", services.REVIVE)


def test_a_broker_that_has_just_started_may_be_without_workers(
    loaded: Any, tmp_path: Path, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "broker", living, subscribers=0)
    monkeypatch.setattr(broker, "YOUNG", 1e6)
    assert 0.0 <= (broker.age(loaded) or 0.0) < 1e6
    found = services.look_at_own_broker(loaded)
    assert (found.state, found.repair) == ("optional", "aiida-hqe doctor")


def job(state: ProcessState, kind: type[orm.ProcessNode] = orm.CalcJobNode) -> int:
    """Pk of a process in a state."""
    node = kind().store()
    node.set_process_state(state)
    return int(node.pk or 0)


def test_submitted_processes_without_a_task_are_named_with_what_brings_them_back(
    aiida_profile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: Any = SimpleNamespace(process_control_backend="core.zeromq")
    monkeypatch.setattr(broker, "_layout", lambda _: SimpleNamespace(storage_path=tmp_path))
    monkeypatch.setattr(broker, "YOUNG", -60.0)  # the clock of a storage may be coarse
    before = set(broker.forgotten(loaded))
    lost = [job(ProcessState.CREATED), job(ProcessState.CREATED, orm.WorkChainNode)]
    kept = {"pending": job(ProcessState.CREATED), "processing": job(ProcessState.CREATED)}
    job(ProcessState.WAITING), job(ProcessState.FINISHED), job(ProcessState.CREATED, orm.CalcFunctionNode)
    for stage, pk in kept.items():
        folder = tmp_path / "tasks" / stage
        folder.mkdir(parents=True)
        (folder / "1_a.json").write_text(json.dumps({"body": create_continue_body(pid=pk), "no_reply": True}))
        (folder / "2_b.json").write_text("{")
        (folder / "3_c.json").write_text("[]")
    assert [pk for pk in broker.forgotten(loaded) if pk not in before] == lost
    [found] = services.look_at_tasks(loaded)
    assert (found.state, found.repair) == ("missing", services.REVIVE)
    assert f"begin {(*sorted(before), *lost)[0]}" in found.message
    monkeypatch.setattr(broker, "YOUNG", 60.0)
    assert set(broker.forgotten(loaded)).isdisjoint(lost)  # their tasks may be on their way
    assert broker.forgotten(SimpleNamespace(process_control_backend="core.rabbitmq")) == []  # type: ignore[arg-type]


def test_what_nobody_will_begin_keeps_a_campaign_from_going_on(
    loaded: Any, tmp_path: Path, living: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "broker", living)
    monkeypatch.setattr(services, "look_at_daemon", lambda _: services.Finding("daemon", "ok", "runs"))
    assert services.obstacles(loaded) == []
    monkeypatch.setattr(broker, "forgotten", lambda _: list(range(1, 8)))
    [found] = services.obstacles(loaded)
    assert (found.name, found.repair) == ("tasks", services.REVIVE)
    assert "begin 1, 2, 3, 4, 5 and 2 more:" in found.message


@pytest.mark.parametrize("text", ["", "aiida-zeromq-broker", "aiida-zeromq-broker x"])
def test_a_damaged_pid_file_names_no_broker(loaded: Any, tmp_path: Path, text: str) -> None:
    written(tmp_path / "broker", 1)
    (tmp_path / "broker" / "broker.pid").write_text(text)
    assert len(broker.leftovers(loaded)) == 3


def test_other_brokers_have_no_such_files(loaded: Any, tmp_path: Path, other: int) -> None:
    written(tmp_path / "broker", other)
    assert broker.leftovers(SimpleNamespace(process_control_backend="core.rabbitmq")) == []  # type: ignore[arg-type]


def test_what_keeps_every_process_from_going_on_is_told_together(
    loaded: Any, tmp_path: Path, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "broker", other)
    monkeypatch.setattr(profile, "running", lambda _: False)
    assert [finding.name for finding in services.obstacles(loaded)] == ["daemon", "broker"]
    assert services.obstacles(SimpleNamespace(process_control_backend=None)) == []  # type: ignore[arg-type]


def test_a_broker_that_starts_slowly_is_waited_for(loaded: Any, tmp_path: Path, living: int) -> None:
    folder = tmp_path / "broker"
    (folder / "broker.pid").write_text(f"aiida-zeromq-broker {living}")
    later = threading.Timer(0.5, (folder / "broker.sockets").write_text, ["/tmp/aiida_zeromq_x"])
    later.start()
    broker.await_address(loaded)
    assert (folder / "broker.sockets").is_file()
    later.join()


def test_a_broker_that_never_starts_is_an_error_of_the_machine(
    loaded: Any, tmp_path: Path, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "broker", other)
    monkeypatch.setattr(broker, "PATIENCE", 0.2)
    with pytest.raises(ResourceError, match=r"the broker was expected to start within .*broker\.log"):
        broker.await_address(loaded)
