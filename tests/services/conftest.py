"""Profiles on the services of `services/start`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from installation import SCRIPTS, Installation, services

Install = Callable[..., Installation]


@pytest.fixture(scope="session", autouse=True)
def _services_run() -> None:
    if not (Path(services()["SERVICES_FOLDER"]) / "slurm" / "slurm.conf").is_file():
        pytest.fail("the services were expected to run: `make services` starts them")


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """Makes installations; their daemons are stopped at the end."""
    made: list[Installation] = []

    def make(*commands: Sequence[object]) -> Installation:
        folder = tmp_path_factory.mktemp("installation")
        (folder / ".aiida").mkdir()
        home = Path(services()["SERVICES_FOLDER"]) / "sshd" / "home"
        environment = os.environ | {"AIIDA_PATH": str(folder), "HOME": str(home), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{SCRIPTS}{os.pathsep}{environment['PATH']}"
        installation = Installation(folder, environment)
        quick = [["config", "set", "daemon.timeout", 60], ["config", "set", "transport.task_retry_initial_interval", 5]]
        for command in (*commands, *quick, ["daemon", "start", 1]):
            installation.run("verdi", *command)
        made.append(installation)
        return installation

    yield make
    for installation in made:
        installation.run("verdi", "daemon", "stop")


@pytest.fixture(scope="session")
def laptop(install: Install) -> Installation:
    """A profile on SQLite with the ZeroMQ broker, on a machine that reaches a cluster."""
    return install(["presto", "--profile-name", "laptop"])


@pytest.fixture(scope="session")
def production(install: Install, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A profile on PostgreSQL and RabbitMQ."""
    number = services()
    name = f"hqe_{os.getpid()}"
    sql = ["psql", "-h", "127.0.0.1", "-p", number["POSTGRESQL_PORT"], "-U", "aiida", "-d", "postgres", "-q", "-c"]
    subprocess.run([*sql, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"], check=True)
    options = ["--profile-name", "production", "--email", "aiida@localhost", "--set-as-default", "--first-name", "A"]
    options += ["--last-name", "B", "--institution", "C"]
    options += ["--database-hostname", "127.0.0.1", "--database-port", number["POSTGRESQL_PORT"]]
    options += ["--database-username", "aiida", "--database-password", "none", "--database-name", name]
    repository = f"file://{tmp_path_factory.mktemp('repository')}"
    broker = ["--broker-port", number["RABBITMQ_PORT"], "--broker-host", "127.0.0.1", "production"]
    return install(
        ["profile", "setup", "core.psql_dos", "-n", *options, "--repository-uri", repository, "--broker", "none"],
        ["profile", "configure-broker", "core.rabbitmq", "-n", "-f", *broker],
        ["config", "set", "warnings.rabbitmq_version", "False"],
        ["config", "set", "caching.enabled_for", "aiida.calculations:hqe.*"],
    )
