"""Fixtures for every test: AiiDA's own (a profile in a temporary folder, no services), and no trace in the user's home."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_CACHE = Path(__file__).resolve().parent.parent / ".cache"

# Importing aiida makes its configuration folder: not in the user's home, even where pytest is called without make.
os.environ["AIIDA_PATH"] = str(_CACHE / "aiida")
(_CACHE / "aiida" / ".aiida").mkdir(parents=True, exist_ok=True)

pytest_plugins = ["aiida.tools.pytest_fixtures"]


# AiiDA's two fixtures of this name are used by every test; these only by tests that ask for them, so that the science is
# tested without a database.
@pytest.fixture(scope="session")
def aiida_config(tmp_path_factory: pytest.TempPathFactory, aiida_config_factory: Callable[..., Any]) -> Iterator[Any]:
    """Configuration of AiiDA in a temporary folder."""
    with aiida_config_factory(tmp_path_factory.mktemp("aiida")) as config:
        yield config


@pytest.fixture(scope="session")
def aiida_profile(aiida_config: Any, aiida_profile_factory: Callable[..., Any]) -> Iterator[Any]:
    """Profile on SQLite without a broker."""
    with aiida_profile_factory(aiida_config) as profile:
        yield profile


@pytest.fixture(scope="module")
def hqe_code(aiida_profile: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The code ``hqe-job`` of this environment on this machine, polled without pause; anew where a test cleaned the profile."""
    from aiida import common, orm

    try:
        return orm.load_code("hqe-job@here")
    except common.NotExistent:
        pass
    computer = orm.Computer(
        label="here",
        hostname="localhost",
        workdir=str(tmp_path_factory.mktemp("scratch")),
        transport_type="core.local",
        scheduler_type="core.direct",
    ).store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(0.2)
    computer.set_default_mpiprocs_per_machine(1)
    executable = Path(sys.executable).parent / "hqe-job"
    return orm.InstalledCode(label="hqe-job", computer=computer, filepath_executable=str(executable)).store()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, hqe_code: Any) -> Any:
    """The provenance of a small campaign that ended (`campaign_graph.Graph`), made without running anything."""
    from campaign_graph import build

    return build(tmp_path_factory.mktemp("graph"), hqe_code.computer)
