"""An AiiDA installation made by the commands that a user types."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from cheap_campaign import CHEAP, SYSTEM

from aiida_hqe.campaign import template

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services"
SCRIPTS = Path(sys.executable).parent

CAMPAIGN: dict[str, Any] = CHEAP | {
    "protocol": "fast", "system": SYSTEM, "stop": {"iterations": 1, "uncertain_fraction": 0.01},
    "resources": {"parallel_jobs": 2, "walltime": "10 min"},
}  # fmt: skip
"""The cheap campaign as a file, of one round."""


PATIENCE = 600.0
"""Seconds that a test waits for something that takes a few on a quiet machine."""

T = TypeVar("T")


def services() -> dict[str, str]:
    """Ports and folder of the services, as `services/common` sets them."""
    script = f". {SERVICES / 'common'}; set | grep -E '^[A-Z]+_(PORT|FOLDER)='"
    lines = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def stop(*names: str) -> None:
    """Stop some of the services."""
    subprocess.run([str(SERVICES / "stop"), *names], check=True, timeout=PATIENCE)


def start(*names: str) -> None:
    """Start them again, with the data that they had."""
    subprocess.run([str(SERVICES / "start"), *names], check=True, timeout=PATIENCE, capture_output=True)


def slurm(*command: str) -> str:
    """Output of a command of SLURM."""
    home = Path(services()["SERVICES_FOLDER"]) / "sshd" / "home"
    ssh = ["ssh", "-F", str(home / ".ssh" / "config"), "hqe-cluster", *command]
    return subprocess.run(ssh, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def until(what: str, look: Callable[[], T]) -> T:
    """The first true answer of `look`; the test fails where there is none in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not seen in {PATIENCE:g} s")


@dataclasses.dataclass(frozen=True)
class Installation:
    """A configuration folder of AiiDA with one profile, and its commands."""

    folder: Path
    environment: dict[str, str]

    def run(self, command: str, *arguments: object, code: int = 0, timeout: float = 900) -> str:
        """Standard output of a command of this environment; the test fails where it ends otherwise than expected."""
        done = subprocess.run(
            [str(SCRIPTS / command), *map(str, arguments)], env=self.environment, cwd=self.folder, timeout=timeout,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        shown = f"{command} {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
        return done.stdout

    def json(self, *arguments: object) -> Any:
        """What a command of ``aiida-hqe`` prints with ``--json``."""
        return json.loads(self.run("aiida-hqe", *arguments, "--json"))

    def computer(self, label: str, transport: str, scheduler: str, host: str = "localhost") -> str:
        """Set a computer and the code on it up; returns the full label of the code."""
        options = ["--label", label, "--hostname", host, "--transport", transport, "--scheduler", scheduler]
        options += ["--work-dir", self.folder / f"scratch-{label}", "--mpiprocs-per-machine", 1]
        options += ["--shebang", "#!/bin/bash"]
        self.run("verdi", "computer", "setup", "-n", *options)
        quick = ["--safe-interval", 0.5, "--no-use-login-shell"]  # as one may on one's own machine only
        self.run("verdi", "computer", "configure", transport, label, "-n", *quick)
        poll = f"orm.load_computer({label!r}).set_minimum_job_poll_interval(1)"
        self.shell(poll)
        code = ["--label", "hqe-job", "--computer", label, "--filepath-executable", SCRIPTS / "hqe-job"]
        self.run("verdi", "code", "create", "core.code.installed", "-n", *code)
        return f"hqe-job@{label}"

    def shell(self, line: str) -> str:
        """Run one line of Python in the profile."""
        script = self.folder / "line.py"
        script.write_text(f"from aiida import orm\n{line}\n")
        return self.run("verdi", "run", script)

    def submit(self, code: str, **changes: Any) -> int:
        """Submit the cheap campaign, and return its pk."""
        directory = self.folder / f"campaign-{len(list(self.folder.glob('campaign-*')))}"
        file = template.copy("methanol-water", directory)[0]
        file.write_text(yaml.safe_dump(CAMPAIGN | changes, sort_keys=False))
        return int(self.run("aiida-hqe", "submit", file, "--code", code).split("as campaign ")[1].split()[0])

    def campaign(self, code: str, **changes: Any) -> int:
        """Run the cheap campaign to its good end, and return its pk."""
        pk = self.submit(code, **changes)
        self.run("aiida-hqe", "watch", pk)
        return pk
