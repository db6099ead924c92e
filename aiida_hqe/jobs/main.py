"""Console script ``hqe-job NAME``: run one job in the current directory and write how it ended."""

from __future__ import annotations

import importlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from aiida_hqe.errors import HQEError, ResourceError, error_kind
from aiida_hqe.jobs import files

JOBS = ("prepare", "label", "train", "sample", "predict")

_PACKAGES = ("aiida-hqe", "numpy", "pyscf", "torch", "schnetpack", "openmm")


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
    """Run job `name` in `directory`, and leave ``status.json`` there whatever happens."""
    start = time.perf_counter()
    job: Callable[[Path], files.Status] = importlib.import_module(f"aiida_hqe.jobs.{name}").run
    code = 0
    try:
        status = job(directory)
    except HQEError as error:
        status = files.Status(state="failed", error_kind=error_kind(error), message=" ".join(str(error).split()))
        code = error.exit_code
        print(f"hqe-job {name}: {status.message}", file=sys.stderr)
    except MemoryError:
        lack = ResourceError("out of memory: give the job more, or choose a smaller core, batch or basis")
        status = files.Status(state="failed", error_kind=error_kind(lack), message=str(lack))
        code = lack.exit_code
    status = status.model_copy(
        update={
            "seconds": time.perf_counter() - start,
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000.0,
            "threads": threads(),
            "versions": versions(),
        }
    )
    files.write_settings(directory, files.STATUS, status)
    return code


def threads() -> int:
    """Threads that this process was given by ``OMP_NUM_THREADS``; all that it may run on, where that says nothing."""
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))


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
    """Rewrite the progress counter of a running job, atomically."""
    temporary = directory / (files.PROGRESS + ".tmp")
    temporary.write_text(f'{{"done": {done}, "total": {total}}}\n')
    os.replace(temporary, directory / files.PROGRESS)
