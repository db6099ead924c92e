"""Load on the daemon, measured: what AiiDA itself costs beside the labels, and many jobs at once.

    python benchmarks/load/load.py labels FOLDER [--frames 1000] [--jobs 2] [--workers 1] [--interval 10]
    python benchmarks/load/load.py children FOLDER [--count 200] [--slots 200] [--workers 1] [--interval 10]

FOLDER is made, with a profile of its own (SQLite, ZeroMQ) and its own daemon, which is stopped at the end.

`labels` labels frames of methanol in water by one `hqe.label` at a cheap but real level. Counted are processor seconds, from
the start of the daemon to its end: of its supervisor, broker and workers, with what these ran that has ended, and of each job
as a whole. What a job costs before its first label is measured by running it once more in a folder where every label is there
already.

`children` labels each frame by a job of its own, all at once, and holds every job until as many run as the slots of the
daemon allow. The executable is no real one: a shell script that hands out labels made beforehand (energies 0), so that AiiDA
is all that is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from load_cases import LEVEL, frames, stand_in


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("labels", "children"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="label jobs at a time (labels)")
    parser.add_argument("--count", type=int, default=200, help="jobs submitted at once (children)")
    parser.add_argument("--workers", type=int, default=1, help="of the daemon")
    parser.add_argument("--slots", type=int, default=200, help="processes that each worker takes")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between two looks at the jobs")
    parser.add_argument(
        "--backup", type=int, default=60, help="seconds between two looks at a child (runner.poll.interval)"
    )
    arguments = parser.parse_args()
    from aiida_hqe.cli import profile

    profile.enter(arguments.folder)
    code = profile.open_profile()
    from aiida.manage.configuration import get_config

    options = {"daemon.worker_process_slots": arguments.slots, "runner.poll.interval": arguments.backup}
    for name, value in options.items():
        get_config().set_option(name, value, scope=profile.NAME)
    get_config().store()
    code.computer.set_minimum_job_poll_interval(arguments.interval)
    found = labels(arguments, code) if arguments.what == "labels" else children(arguments, code)
    print(json.dumps(found, indent=1))


def labels(arguments: argparse.Namespace, code: Any) -> dict[str, Any]:
    """Labels by few jobs: AiiDA's part."""
    code.computer.set_append_text("times > cpu.txt")
    load, start = os.getloadavg()[0], time.monotonic()
    with daemon(arguments.workers) as spent:
        begun = spent()
        before = time.process_time()
        node = submit(code, frames(arguments.frames), arguments.jobs)
        submission = time.process_time() - before
        course = follow(node, spent, arguments.folder)
        idle, costs = total(begun), spent()
    jobs = [p for p in node.called if p.process_label == "LabelCalculation"]
    used = [sum(map(seconds, (Path(job.get_remote_workdir()) / "cpu.txt").read_text().split())) for job in jobs]
    started = start_up(Path(jobs[0].get_remote_workdir()), arguments.folder / "again")
    compute = sum(used) - len(jobs) * started
    return {
        "load": [load, os.getloadavg()[0]],
        "wall": time.monotonic() - start,
        "ended": [node.exit_status, node.outputs.frames.n_frames],
        "jobs": len(jobs),
        "labels, CPU s": compute,
        "CPU s of a label": compute / arguments.frames,
        "AiiDA, CPU s": costs | {"total": total(costs), "of that to start the daemon": idle},
        "making and submitting the input, CPU s": submission,
        "start of the jobs, CPU s": len(jobs) * started,
        "AiiDA / labels": total(costs) / compute,
        "AiiDA and start of the jobs / labels": (total(costs) + len(jobs) * started) / compute,
        "course": course,
    }


def children(arguments: argparse.Namespace, code: Any) -> dict[str, Any]:
    """One job for each frame, all at the same time."""
    from aiida.orm import InstalledCode

    folder, batch = arguments.folder.absolute() / "stand-in", frames(arguments.count)
    script = stand_in(folder, batch)
    code = InstalledCode(label="stand-in", computer=code.computer, filepath_executable=str(script)).store()
    room = min(arguments.count, arguments.slots * arguments.workers - 1)
    load, start = os.getloadavg()[0], time.time()
    with (folder / "gate").open("w") as gate, daemon(arguments.workers) as spent:
        fcntl.flock(gate, fcntl.LOCK_EX)
        node = submit(code, batch, arguments.count)
        while len(list((folder / "began").iterdir())) < room:
            time.sleep(0.5)
        held, states, opened = spent(), active(), time.time()
        fcntl.flock(gate, fcntl.LOCK_UN)
        wait(node)
        costs = spent()
    jobs = [process for process in node.called if process.process_label == "LabelCalculation"]
    began = [float(path.read_text()) for path in (folder / "began").iterdir()]
    times = {
        "submitted": [job.ctime.timestamp() for job in jobs],
        "began": began,
        "ended": [job.mtime.timestamp() for job in jobs],
    }
    return {
        "load": [load, os.getloadavg()[0]],
        "ended": [node.exit_status, node.outputs.frames.n_frames, Counter(str(job.exit_status) for job in jobs)],
        "at the same time": room,
        "processes then": states,
        "held open, s": opened - start,
        "wall": time.time() - start,
        "AiiDA, CPU s": costs | {"total": total(costs), "of that until all ran": total(held)},
        "CPU s of a job": total(costs) / len(jobs),
        "first, last (s)": {name: [round(f(at) - start, 1) for f in (min, max)] for name, at in times.items()},
        "time line": timeline(times, start),
    }


def submit(code: Any, batch: Any, jobs: int) -> Any:
    """A labelling, submitted."""
    from aiida import engine, orm
    from aiida.plugins import WorkflowFactory

    from aiida_hqe.data.frames import FramesData

    inputs = {"frames": FramesData.from_frames(batch), "level": orm.Dict(LEVEL), "batches": orm.Int(jobs)}
    return engine.submit(WorkflowFactory("hqe.label"), code=code, **inputs)


def wait(node: Any) -> None:
    """Wait for the end."""
    while not node.is_terminated:
        time.sleep(1.0)


@contextlib.contextmanager
def daemon(workers: int) -> Iterator[Any]:
    """The daemon; yields a function that says what its processes have used."""
    from aiida_hqe.cli import profile

    with profile.daemon(workers) as client:
        while len(tree(client.get_daemon_pid())) < workers + 2:
            time.sleep(0.2)
        yield lambda: cost(client.get_daemon_pid())


def follow(node: Any, spent: Any, folder: Path, every: float = 20.0) -> list[dict[str, Any]]:
    """Wait for the end; processor seconds of AiiDA and of the jobs that run, load and wall time (s), now and then."""
    found, start = [], time.monotonic()
    while not node.is_terminated:
        if time.monotonic() - start >= every * len(found):
            running = sum(sum(job.cpu_times()[:2]) for job in running_jobs(folder))
            entry = {
                "wall": time.monotonic() - start,
                "load": os.getloadavg()[0],
                "AiiDA": total(spent()),
                "jobs": running,
            }
            found.append({name: round(value, 2) for name, value in entry.items()})
        time.sleep(1.0)
    return found


def running_jobs(folder: Path) -> Iterator[psutil.Process]:
    """The label jobs of the profile in `folder`."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-1:] == ["label"] and Path(process.cwd()).is_relative_to(folder.absolute()):
                yield process


def tree(pid: int) -> list[psutil.Process]:
    """Supervisor, broker and workers."""
    supervisor = psutil.Process(pid)
    return [supervisor, *supervisor.children()]


def cost(pid: int) -> dict[str, float]:
    """Processor seconds of the daemon: workers, what these ran and waited for, broker and supervisor."""
    found = Counter[str]()
    for process in tree(pid):
        words, times = process.cmdline(), process.cpu_times()
        kind = "workers" if words[-1:] == ["worker"] else "broker" if "broker" in words else "supervisor"
        found[kind] += times.user + times.system
        found["shells and ps" if kind == "workers" else kind] += times.children_user + times.children_system
    return dict(found)


def total(costs: dict[str, float]) -> float:
    """Their sum."""
    return sum(costs.values())


def seconds(text: str) -> float:
    """What ``times`` of the shell means by 1m2.5s."""
    minutes, _, rest = text.rstrip("s").partition("m")
    return 60 * float(minutes) + float(rest)


def start_up(done: Path, again: Path) -> float:
    """Processor seconds of a job that finds all its labels made."""
    again.mkdir()
    for name in ("frames.h5", "level.json", "labels.jsonl"):
        shutil.copy(done / name, again)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(Path(sys.executable).parent / "hqe-job"), "label"], cwd=again, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def active() -> dict[str, int]:
    """Processes that have not ended, by state."""
    from aiida import orm

    ended = ["finished", "excepted", "killed"]
    query = orm.QueryBuilder().append(
        orm.ProcessNode, filters={"attributes.process_state": {"!in": ended}}, project="attributes.process_state"
    )
    return dict(Counter(query.all(flat=True)))


def timeline(times: dict[str, list[float]], start: float, parts: int = 12) -> list[dict[str, float]]:
    """How many had been submitted, had begun and had ended, after equal parts of the time."""
    end = max(max(at) for at in times.values()) - start
    marks = [end * part / parts for part in range(1, parts + 1)]
    return [
        {"s": round(mark, 1), **{name: sum(t - start <= mark for t in at) for name, at in times.items()}}
        for mark in marks
    ]


if __name__ == "__main__":
    main()
