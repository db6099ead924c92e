"""``hqe-job`` with one fault in its labels: ``python poisoned_job.py scf|nan|slow HASH JOB``.

The frame whose hash begins with HASH cannot be labelled, or takes two seconds more (all frames, where HASH is empty).
Everything else is the job itself, and so is what it does about that frame.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from aiida_hqe.embedding import scf
from aiida_hqe.frames import Frame
from aiida_hqe.jobs import label as job
from aiida_hqe.jobs import main
from aiida_hqe.labels import Label

label = job.label


def without_cycles(frame: Frame, level: Any) -> Label:
    """Label with one SCF cycle on each rung of the ladder, so that none converges."""

    def hurried(prepare: Any) -> Any:
        def make(mf: Any) -> Any:
            solver = prepare(mf)
            solver.max_cycle = 1
            return solver

        return make

    rungs = dict(scf.RUNGS)
    scf.RUNGS.update({name: hurried(prepare) for name, prepare in rungs.items()})
    try:
        return label(frame, level)
    finally:
        scf.RUNGS.update(rungs)


def with_nan(frame: Frame, level: Any) -> Label:
    """Label in a charge that is not a number: what a damaged file or a broken dynamics would hand over."""
    spoilt = np.array(frame.mm_charges)
    spoilt[0] = np.nan
    damaged = frame.replace()
    object.__setattr__(damaged, "mm_charges", spoilt)
    object.__setattr__(damaged, "hash", frame.hash)
    return label(damaged, level)


def slowly(frame: Frame, level: Any) -> Label:
    """Label, and take two seconds more."""
    time.sleep(2.0)
    return label(frame, level)


if __name__ == "__main__":
    poison = {"scf": without_cycles, "nan": with_nan, "slow": slowly}[sys.argv[1]]
    job.label = lambda frame, level: (poison if frame.hash.startswith(sys.argv[2]) else label)(frame, level)
    sys.exit(main.main(sys.argv[3:]))
