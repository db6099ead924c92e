"""``hqe-job prepare``: build the molecular assembly from its files, minimise and equilibrate it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aiida_hqe.dynamics.prepare import prepare
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import report_progress
from aiida_hqe.qmmm.setup import build


def run(directory: Path) -> files.Status:
    """Read ``settings.json`` (`files.PrepareJob`) and the files of the system in `directory`; write ``final.h5``."""
    job = files.read_settings(directory, files.SETTINGS, files.PrepareJob)
    assembly = build(job.system, directory)
    assembly = prepare(assembly, job.sampling, job.seed, partial(report_progress, directory))
    assembly.write(directory / files.FINAL)
    counts = {"steps": job.sampling.equilibration_steps, "atoms": assembly.n_atoms, "qm_atoms": assembly.n_qm}
    return files.Status(state="finished", counts=counts)
