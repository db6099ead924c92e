"""What `doctor` says of each service that is down: one line, and what puts it right."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiida_hqe.cli import services


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nothing listens at."""
    with socket.socket() as bound:  # bound, so that nobody else gets it; not listening
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def profile_of(**process_control: Any) -> Any:
    from aiida.manage.configuration import Profile

    storage = {"database_hostname": "127.0.0.1", "database_port": process_control.pop("database_port", 1)}
    content = {
        "storage": {"backend": "core.psql_dos", "config": storage | {"database_name": "hqe"}},
        "process_control": process_control,
    }
    return Profile("production", content)


@pytest.fixture
def computer(aiida_profile_clean: Any, tmp_path: Path) -> Any:
    from aiida.orm import Computer

    names = {
        "label": "cluster",
        "hostname": "localhost",
        "transport_type": "core.local",
        "scheduler_type": "core.slurm",
    }
    made = Computer(**names, workdir=str(tmp_path)).store()
    made.configure(safe_interval=0.0, use_login_shell=False)
    return made


@pytest.fixture
def code(computer: Any, tmp_path: Path) -> Any:
    from aiida.orm import InstalledCode

    program = tmp_path / "hqe-job"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return InstalledCode(label="hqe-job", computer=computer, filepath_executable=str(program)).store()


def scheduler(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `squeue` that does as told before all others."""
    (folder / "bin").mkdir()
    (folder / "bin" / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_postgresql_that_does_not_answer_is_named_with_its_port(closed_port: int) -> None:
    found = services.look_at_storage(profile_of(database_port=closed_port))
    assert found.state == "missing"
    assert found.message == f"PostgreSQL does not answer at 127.0.0.1:{closed_port} (Connection refused)"
    assert str(found.repair).startswith("start PostgreSQL")


def test_rabbitmq_that_does_not_answer_is_named_with_its_port(closed_port: int, aiida_profile: Any) -> None:
    config = {"broker_host": "127.0.0.1", "broker_port": closed_port}
    found = next(services.look_at_broker(profile_of(backend="core.rabbitmq", config=config)))
    assert found.state == "missing"
    assert found.message == f"RabbitMQ does not answer at 127.0.0.1:{closed_port} (Connection refused)"
    assert str(found.repair).startswith("start RabbitMQ")


def test_a_broker_that_listens_is_in_order(aiida_profile: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = {"broker_host": "127.0.0.1", "broker_port": server.getsockname()[1]}
        found = next(services.look_at_broker(profile_of(backend="core.rabbitmq", config=config)))
    assert found.state == "ok"


@pytest.mark.parametrize(
    ("broker", "workers", "state"),
    [("core.rabbitmq", 2, "optional"), ("core.rabbitmq", 1, "ok"), ("core.zeromq", 2, "ok")],
)
def test_several_workers_on_rabbitmq_are_told_to_be_a_risk(
    broker: str, workers: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = SimpleNamespace(get_daemon_pid=os.getpid, daemon_log_file="aiida.log")
    monkeypatch.setattr("aiida.engine.daemon.client.get_daemon_client", lambda: client)
    command = [sys.executable, "-c", "input()", "worker"]
    with contextlib.ExitStack() as stack:
        for _ in range(workers):
            child = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            stack.callback(child.kill)
        found = services.look_at_daemon(broker)
    assert found.state == state
    assert found.repair == ("verdi daemon decr 1" if state == "optional" else None)


def test_a_daemon_that_does_not_answer_is_told_with_its_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiida.engine.daemon.client import DaemonTimeoutException

    def call(_: Any) -> None:
        raise DaemonTimeoutException("Connection to the daemon timed out.")

    client = SimpleNamespace(call_client=call)
    monkeypatch.setattr("aiida.engine.daemon.client.get_daemon_client", lambda: client)
    (found,) = services.look_at_statistics()
    assert (found.state, found.repair) == ("missing", "verdi daemon restart")
    assert found.message == "it does not answer: Connection to the daemon timed out."


def test_a_computer_whose_scheduler_answers_is_in_order(
    code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler(tmp_path, monkeypatch, "exit 0")
    found = list(services.look_at_codes())
    assert [(finding.name, finding.state) for finding in found] == [("computer cluster", "ok"), ("code", "ok")]


def test_a_scheduler_that_is_down_is_told_from_its_machine(
    code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler(tmp_path, monkeypatch, "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    found = {finding.name: finding for finding in services.look_at_codes()}
    assert found["computer cluster"].state == "missing"
    assert "answers, its scheduler core.slurm does not" in found["computer cluster"].message
    assert "Unable to contact slurm controller" in found["computer cluster"].message
    assert "\n" not in found["computer cluster"].message
    assert found["code"].state == "ok"


def test_a_program_that_is_gone_is_told_by_its_path(code: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler(tmp_path, monkeypatch, "exit 0")
    (tmp_path / "hqe-job").unlink()
    found = {finding.name: finding for finding in services.look_at_codes()}
    assert found["code"].state == "missing"
    assert str(tmp_path / "hqe-job") in found["code"].message
    assert found["code"].repair == (
        f"verdi code hide {code.pk}; verdi code relabel {code.pk} hqe-job-gone; "
        "verdi code create core.code.installed -n --label hqe-job --computer cluster --filepath-executable "
        '"$(which hqe-job)"'
    )


def test_a_machine_that_ssh_does_not_reach_is_named_with_the_test_for_it(
    aiida_profile_clean: Any, closed_port: int
) -> None:
    from aiida.orm import Computer, InstalledCode

    names = {"label": "far", "hostname": "127.0.0.1", "transport_type": "core.ssh", "scheduler_type": "core.slurm"}
    far = Computer(**names, workdir="/tmp").store()
    far.configure(port=closed_port, safe_interval=0.0, use_login_shell=False, look_for_keys=False)
    InstalledCode(label="hqe-job", computer=far, filepath_executable="/usr/bin/hqe-job").store()
    (found,) = services.look_at_codes()
    assert found.state == "missing"
    assert found.message.startswith("no connection to 127.0.0.1 (core.ssh): ")
    assert found.repair == "verdi computer test far"


def test_processes_that_wait_paused_come_with_the_command_that_plays_them(aiida_profile_clean: Any) -> None:
    from aiida.orm import WorkChainNode

    assert list(services.look_at_processes()) == []
    node = WorkChainNode()
    node.set_process_state("waiting")
    node.pause()
    node.store()
    (found,) = services.look_at_processes()
    assert found.state == "missing"
    assert found.repair == f"verdi process play {node.pk}"
