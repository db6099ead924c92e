"""Console script ``hqe-job NAME``: run one job in the current directory and write how it ended."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from aiida_hqe.errors import DeviceError, HQEError, ResourceError, error_kind
from aiida_hqe.jobs import files
from aiida_hqe.jobs.deadline import Watchdog
from aiida_hqe.writing import FULL

JOBS = ("prepare", "label", "train", "sample", "predict")

_PACKAGES = ("aiida-hqe", "numpy", "pyscf", "torch", "schnetpack", "openmm")
_RESERVED = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job named on the command line; exit code 0 done, 1 failed, 2 bad input (see ``status.json``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1 or arguments[0] not in JOBS:
        print(
            f"hqe-job: one of {', '.join(JOBS)} was expected (got {' '.join(arguments) or 'nothing'})", file=sys.stderr
        )
        return 2
    return run(arguments[0], Path.cwd())


def run(name: str, directory: Path) -> int:
    """Run job `name` in `directory`, and leave ``status.json`` there unless it is killed.

    A job that is begun while another process runs it, because a daemon that was killed could not write down that it had
    submitted it, waits for the other, and only does what that left undone.
    """
    start = time.perf_counter()
    with alone(directory) as waited:
        if waited and finished(directory):
            return 0
        with Watchdog(lambda limit: leave(directory, out_of_walltime(limit), start)):
            status, code = attempt(name, directory)
        leave(directory, status, start)
    if code:
        with contextlib.suppress(OSError):  # where standard error is a file, the disk may be full
            print(f"hqe-job {name}: {status.message}", file=sys.stderr)
    return code


def attempt(name: str, directory: Path) -> tuple[files.Status, int]:
    """How a job ended, and its exit code."""
    try:
        job: Callable[[Path], files.Status] = importlib.import_module(f"aiida_hqe.jobs.{name}").run
        (directory / files.RESERVE).write_bytes(bytes(_RESERVED))
        return job(directory), 0
    except HQEError as error:
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL
        return failure(error, "disk" if full else "device" if isinstance(error, DeviceError) else None)
    except MemoryError:
        lack = "out of memory: give the job more, or choose a smaller core, batch or basis"
        return failure(ResourceError(lack), "memory")
    except OSError as error:
        if error.errno not in FULL:
            raise
        lack = f"{directory} is full ({error.strerror}): make room there, or raise the limit on the size of files"
        return failure(ResourceError(lack), "disk")


def failure(error: HQEError, cause: str | None = None) -> tuple[files.Status, int]:
    """Status and exit code of a job that failed with `error`, because it ran out of `cause`."""
    message = " ".join(str(error).split())
    entries = {"state": "failed", "error_kind": error_kind(error), "message": message, "cause": cause}
    return files.Status.model_validate(entries), error.exit_code


def out_of_walltime(limit: float) -> files.Status:
    """Status of a job that its walltime ends."""
    message = f"the wall time of the job, {limit:g} s, ran out: give it more (resources.walltime)"
    return files.Status(state="failed", error_kind="resource", cause="walltime", message=message)


def leave(directory: Path, status: files.Status, start: float) -> None:
    """Write ``status.json``, with cost and versions."""
    cost = {
        "seconds": time.perf_counter() - start,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000.0,
        "threads": threads(),
        "versions": versions(),
    }
    (directory / files.RESERVE).unlink(missing_ok=True)
    temporary = files.STATUS + ".tmp"
    files.write_settings(directory, temporary, status.model_copy(update=cost))
    os.replace(directory / temporary, directory / files.STATUS)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[bool]:
    """Wait until no other process runs the job of `directory`; yields whether one did."""
    with contextlib.ExitStack() as stack:
        waited = False
        with contextlib.suppress(OSError):  # a file system without locks, or a full one
            lock = stack.enter_context((directory / files.LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield waited


def finished(directory: Path) -> bool:
    """Whether the job of this directory has finished."""
    path = directory / files.STATUS
    return path.is_file() and files.read_settings(directory, files.STATUS, files.Status).state == "finished"


def threads() -> int:
    """Threads that this process was given by ``OMP_NUM_THREADS``; all that it may run on, where that says nothing."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))


def device() -> str:
    """Name of the device on which the networks of this job compute."""
    return os.environ.get(files.DEVICE) or "cpu"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def report_progress(directory: Path, done: int, total: int) -> None:
    """Rewrite the progress counter of a running job, atomically; not worth a failure where the disk is full."""
    temporary = directory / (files.PROGRESS + ".tmp")
    with contextlib.suppress(OSError):
        temporary.write_text(f'{{"done": {done}, "total": {total}}}\n')
        os.replace(temporary, directory / files.PROGRESS)
