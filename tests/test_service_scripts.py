"""`services/start` and `services/stop`: what they refuse, and that they end nothing that is not theirs."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "services"
TEMPORARY, USAGE = 75, 64


def run(script: str, *names: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HQE_SERVICES_FOLDER": str(folder)} | variables
    return subprocess.run(
        [str(SCRIPTS / script), *names], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("script", ["start", "stop"])
def test_a_name_that_is_no_service_is_refused_with_those_that_are(script: str, tmp_path: Path) -> None:
    done = run(script, "mysql", folder=tmp_path / "run")
    assert done.returncode == USAGE
    assert "postgresql rabbitmq munge slurmctld slurmd sshd was expected (got mysql)" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_stale_pid_file_ends_no_other_process(tmp_path: Path) -> None:
    (tmp_path / "sshd").mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / "sshd" / "pid").write_text(f"{other.pid}\n")
        assert run("stop", "sshd", folder=tmp_path).returncode == 0
        assert other.poll() is None
        other.kill()


def test_stop_removes_what_start_wrote_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "thesis.tex").write_text("")
    assert run("stop", folder=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(os.getuid() == 0 and shutil.which("setpriv") is None, reason="no setpriv to be another user with")
def test_without_root_nothing_is_started(tmp_path: Path) -> None:
    become = ["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []
    script = (SCRIPTS / "start").read_text().replace('"$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"', '"$PWD"')
    common = (SCRIPTS / "common").read_text()
    script = script.replace('source "$here/common"', common)  # the folder may be out of another user's reach
    done = subprocess.run([*become, "bash", "-s"], input=script, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == TEMPORARY
    assert "root was expected" in done.stderr


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("slurmctld") is None, reason="`make services` was not run here")
def test_a_port_in_use_is_told_with_the_variable_that_moves_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = run("start", "sshd", folder=tmp_path / "run", HQE_SSH_PORT=port)
    assert done.returncode == TEMPORARY
    assert f"port {port} of 127.0.0.1 is in use: choose another with HQE_SSH_PORT=..." in done.stderr
