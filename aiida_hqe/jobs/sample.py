"""``hqe-job sample``: molecular dynamics by the force field, or by the committee if there is one, and its frames."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aiida_hqe.dynamics.sample import sample
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import device, report_progress
from aiida_hqe.qmmm.assembly import Assembly

if TYPE_CHECKING:
    from aiida_hqe.potentials.committee import Committee


def run(directory: Path) -> files.Status:
    """Read ``settings.json`` (`files.SampleJob`) and ``assembly.h5``; write ``sampled.h5`` and ``final.h5``."""
    job = files.read_settings(directory, files.SETTINGS, files.SampleJob)
    committee = _committee(directory, job.sampling.precision)
    result = sample(
        Assembly.read(directory / files.ASSEMBLY),
        job.sampling,
        committee,
        seed=job.seed,
        steps=job.steps,
        interval=job.interval,
        trust_disagreement=job.trust_disagreement,
        progress=partial(report_progress, directory),
        checkpoint=directory / files.CHECKPOINT,
    )
    result.frames.write(directory / files.SAMPLED)
    result.assembly.write(directory / files.FINAL)
    counts = {"steps": result.steps, "frames": len(result.frames)}
    state = "finished" if result.trusted else "untrusted"
    return files.Status(state=state, message=result.reason, device=_place(committee), counts=counts)


def _committee(directory: Path, precision: Literal["float32", "float64"]) -> Committee | None:
    path = directory / files.COMMITTEE
    if not path.is_file():
        return None
    from aiida_hqe.potentials.committee import Committee

    return Committee.load(path).replace(precision=precision, device=device())


def _place(committee: Committee | None) -> str | None:
    """Where the networks computed, if there were any."""
    if committee is None:
        return None
    from aiida_hqe.potentials.device import describe

    return describe(committee.device)
