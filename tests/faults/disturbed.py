"""`Campaign`: a running campaign whose processes can be killed. Looked at from outside, through the processes and files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
LIMIT = 900.0


class Campaign:
    """A campaign that runs, in a profile of its own.

    Parameters
    ----------
    folder
        Of the profile.
    options
        See `campaign_process.main`.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder = folder
        self.scratch = Path(options.get("scratch", folder / "scratch"))
        folder.mkdir()
        (folder / "home").mkdir()
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("AIIDA", "XDG", "MPL", "TMPDIR"))
        }
        places = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"HOME": str(folder / "home"), "AIIDA_PATH": str(folder), "PYTHONPATH": os.pathsep.join(places)}
        scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = kept | environment | {"OMP_NUM_THREADS": "1", "PATH": scripts}
        command = [sys.executable, str(HERE / "campaign_process.py"), str(folder), json.dumps(options)]
        self._log = (folder / "campaign.log").open("w")
        self._process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=folder
        )
        assert self._process.stdout is not None
        self.submitted = self._process.stdout.readline()
        assert self.submitted, self.log()

    def end(self) -> dict[str, Any]:
        """Wait for the end; what the campaign left."""
        return self.ends()[0]

    def ends(self) -> list[dict[str, Any]]:
        """The same, of several campaigns."""
        output, _ = self._process.communicate(timeout=LIMIT)
        assert self._process.returncode == 0, self.log()
        found: list[dict[str, Any]] = json.loads(output)
        return found

    def processes(self) -> Iterator[psutil.Process]:
        """All that belongs to the profile, but for this test's own process."""
        mine = {f"AIIDA_PATH={path}".encode() for path in (self.folder, self.folder / ".aiida")}
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
                if mine.intersection(environment) and process.pid != self._process.pid:
                    yield process

    def daemon(self) -> list[psutil.Process]:
        """The daemon, its supervisor first: circus, broker and workers."""
        found = [p for p in self.processes() if "daemon" in _words(p) or "circus" in " ".join(_words(p))]
        return sorted(found, key=lambda process: process.create_time())

    def workers(self) -> list[psutil.Process]:
        """The workers of the daemon."""
        return [found for found in self.processes() if _words(found)[-2:] == ["daemon", "worker"]]

    def broker(self) -> psutil.Process:
        """The broker of the daemon."""
        return next(found for found in self.processes() if "broker" in _words(found))

    def job(self, name: str) -> psutil.Process | None:
        """The job `name` that runs."""
        ending = ["hqe-job", name]
        return next((p for p in self.processes() if [Path(w).name for w in _words(p)[-2:]] == ending), None)

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """Wait until something is there, and return it."""
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            found = what()
            if found:
                return found
            assert self._process.poll() is None, f"the campaign was faster\n{self.log()}"
            time.sleep(0.02)
        raise AssertionError(f"waited in vain\n{self.log()}")

    def kill_worker_when(self, what: Callable[[dict[str, list[str]]], bool]) -> None:
        """SIGKILL of the worker in the middle of its work: it stands still while the states of its processes are looked at."""
        [worker] = self.wait_for(self.workers)
        until = time.monotonic() + LIMIT
        while time.monotonic() < until:
            worker.suspend()
            if what(self.states()):
                kill(worker)
                return
            worker.resume()
            time.sleep(0.002)
            assert self._process.poll() is None, f"the campaign was faster\n{self.log()}"
        raise AssertionError(f"waited in vain\n{self.log()}")

    def states(self) -> dict[str, list[str]]:
        """States of all processes of the profile, by label, from the file of its storage; none while somebody holds its lock."""
        [path] = self.folder.glob(".aiida/repository/*/database.sqlite")
        query = """SELECT json_extract(attributes, '$.process_label'), json_extract(attributes, '$.process_state')
                   FROM db_dbnode WHERE node_type LIKE 'process.%' ORDER BY id"""
        found: dict[str, list[str]] = {}
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", timeout=0, uri=True)) as storage:
            try:
                rows = storage.execute(query).fetchall()
            except sqlite3.OperationalError:
                return {}
        for label, state in rows:
            found.setdefault(label, []).append(state)
        return found

    def labels(self) -> Counter[str]:
        """How often each frame was labelled, in all folders of jobs."""
        found: Counter[str] = Counter()
        for path in self.scratch.glob("*/*/*/labels.jsonl"):
            complete = path.read_bytes().rpartition(b"\n")[0]
            labels = [json.loads(line) for line in complete.splitlines()]
            found.update(label["frame"] for label in labels if label["status"] == "ok")
        return found

    def folders(self) -> list[str]:
        """Folders of all jobs that were ever begun."""
        return sorted(str(path) for path in self.scratch.glob("*/*/*"))

    def kill_daemon(self) -> None:
        """SIGKILL of all of it, also of what its supervisor began anew meanwhile."""
        while found := self.daemon():
            kill(*found)
            time.sleep(0.1)

    def start_daemon(self) -> None:
        """Start the daemon again."""
        self._shell("verdi daemon start 1")

    def repair(self, what: str) -> None:
        """Do what `doctor` says of the part `what`, once it finds a fault of it; nothing where the campaign ends without."""
        until = time.monotonic() + LIMIT
        while self._process.poll() is None:
            assert time.monotonic() < until, f"waited in vain\n{self.log()}"
            for finding in json.loads(self._shell("aiida-hqe doctor --json || true")):
                if (finding["name"], finding["state"]) == (what, "missing"):
                    self._shell(finding["repair"])
                    return

    def _shell(self, command: str) -> str:
        ended = subprocess.run(
            command, shell=True, env=self.environment, capture_output=True, text=True, cwd=self.folder
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def log(self) -> str:
        """What the campaign and the daemon said last."""
        texts = [path.read_text()[-3000:] for path in [self.folder / "campaign.log", *self._daemon_logs()]]
        return "\n".join(texts)

    def _daemon_logs(self) -> list[Path]:
        return sorted(self.folder.glob(".aiida/daemon/log/aiida-*.log"))

    def close(self) -> None:
        """End every process of the profile."""
        kill(self._process)
        self.kill_daemon()
        kill(*self.processes())
        self._process.communicate()
        self._log.close()


def kill(*processes: Any) -> None:
    """SIGKILL."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(signal.SIGKILL)


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
