"""What a step costs on this machine: a label, a committee's answer, a step of dynamics. Printed, never asserted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aiida_hqe.campaign import check, template
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Environment, Level
from aiida_hqe.frames import Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.training.train import train_member

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> check.Checked:
    """The template methanol-water, set up."""
    return check.check(template.copy("methanol-water", tmp_path_factory.mktemp("methanol"))[0])


@pytest.fixture(scope="module")
def frames(checked: check.Checked) -> Frames:
    """Frames of force-field dynamics, labelled cheaply: only the cost of what learns from them is measured."""
    level = Level(environment=Environment(xc="lda,vwn", basis="sto-3g", grid_level=1))
    simulation = Simulation(checked.assembly, checked.campaign.sampling, seed=1)
    simulation.minimize(checked.campaign.sampling.minimize_tolerance, 100)
    found = []
    for _ in range(8):
        simulation.step(50)
        frame = simulation.assembly().frame()
        bare = frame.replace(core=0 * frame.core)
        found.append(label(bare, level, threads=1).apply(bare))
    return Frames(found)


@pytest.fixture(scope="module")
def committee(checked: check.Checked, frames: Frames) -> Committee:
    """A committee of the campaign's architecture, hardly trained."""
    training = checked.campaign.training.model_copy(update={"epochs": 2})
    parts = [
        train_member(frames, checked.campaign.potential, training, member=k, seed=1)[0] for k in range(training.members)
    ]
    return Committee.merge(parts)


def mean_seconds(work: Callable[[], object], repeats: int) -> float:
    """Mean wall time of `work` after one call that warms up."""
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def test_a_label(checked: check.Checked) -> None:
    found = label(checked.assembly.frame(), checked.campaign.levels, threads=1)
    print(
        f"\nlabel of methanol in {checked.assembly.frame().n_mm} charges: {found.seconds:.2f} s, core {found.core_seconds:.2f} s"
    )
    assert found.status == "ok"


def test_a_committee(committee: Committee, frames: Frames) -> None:
    seconds = mean_seconds(lambda: committee.evaluate(frames[0]), 50)
    print(
        f"\ncommittee of {committee.n_members} on {frames[0].n_qm} atoms in {frames[0].n_mm} charges: {1e3 * seconds:.1f} ms"
    )


def test_a_step_of_dynamics(checked: check.Checked, committee: Committee) -> None:
    sampling = checked.campaign.sampling.model_copy(
        update={"timestep": 0.05}
    )  # the committee is too raw for a whole step
    start = Simulation(checked.assembly, sampling, seed=1)
    start.minimize(sampling.minimize_tolerance, 100)
    for name, force in (("force field", None), ("ML/MM", RegionForce(checked.assembly, committee))):
        simulation = Simulation(start.assembly(), sampling, seed=1, force=force)
        seconds = mean_seconds(lambda run=simulation: run.step(10), 3) / 10
        print(f"\n{name} step, {checked.assembly.n_atoms} atoms: {1e3 * seconds:.1f} ms")


def test_frames_on_disk(frames: Frames, tmp_path: Path) -> None:
    many = Frames(frames * 25)
    for suffix in (".h5", ".xyz"):
        path = tmp_path / f"frames{suffix}"
        write, read = mean_seconds(lambda p=path: many.write(p), 2), mean_seconds(lambda p=path: Frames.read(p), 2)
        print(
            f"\n{len(many)} frames as {suffix}: write {write:.2f} s, read {read:.2f} s, {path.stat().st_size / 1e6:.1f} MB"
        )
