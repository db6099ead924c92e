"""An AiiDA installation made by the commands that a user types."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def ports() -> dict[str, str]:
    """Ports of the services, as `services/ports` sets them."""
    script = f". {SERVICES / 'ports'}; set | grep _PORT="
    lines = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


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

    def campaign(self, code: str, **changes: Any) -> int:
        """Submit the cheap campaign, stay until it has ended well, and return its pk."""
        directory = self.folder / f"campaign-{len(list(self.folder.glob('campaign-*')))}"
        file = template.copy("methanol-water", directory)[0]
        file.write_text(yaml.safe_dump(CAMPAIGN | changes, sort_keys=False))
        told = self.run("aiida-hqe", "submit", file, "--code", code, "--watch")
        return int(told.split("as campaign ")[1].split()[0])
