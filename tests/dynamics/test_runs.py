"""Runs: conserved energy, kept frames, seeds, walkers, and the stop at the edge of trust."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from openmm import unit

from aiida_hqe.dynamics.driver import Driver
from aiida_hqe.dynamics.prepare import prepare
from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.sample import sample
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.simulation import Simulation, platforms, threads
from aiida_hqe.errors import ConvergenceError, InputError, ResourceError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.charges import PointCharges
from aiida_hqe.units import KJ_PER_MOL

from .conftest import Answer, Springs


def total_energies(
    assembly: Assembly, sampling: SamplingSettings, driver: Driver | None, chunks: int, steps: int = 20
) -> Floats:
    """Total energy (eV) along an NVE run."""
    force = None if driver is None else RegionForce(assembly, driver)
    run = Simulation(assembly, sampling.model_copy(update={"ensemble": "nve"}), seed=3, force=force)
    energies = []
    for _ in range(chunks):
        run.step(steps)
        state = run.context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy()).value_in_unit(unit.kilojoule_per_mole))
    return np.array(energies) * KJ_PER_MOL


def drift_and_noise(energies: Floats, sampling: SamplingSettings) -> tuple[float, float, float]:
    """Slope of the total energy (meV/ps), its standard error, and the fluctuation about the slope (meV)."""
    time = np.arange(len(energies)) * 20 * sampling.timestep * 1e-3
    (slope, offset), covariance = np.polyfit(time, 1e3 * energies, 1, cov=True)
    return slope, float(np.sqrt(covariance[0, 0])), float(np.std(1e3 * energies - slope * time - offset))


@pytest.mark.slow
def test_driven_dynamics_conserve_energy_as_well_as_the_force_field_but_not_without_the_switch_forces(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs, monkeypatch: pytest.MonkeyPatch
) -> None:
    relaxed = sample(methanol, sampling, springs, seed=5, steps=400, interval=400).assembly
    mm, _, mm_noise = drift_and_noise(total_energies(methanol, sampling, None, 80), sampling)
    ml, error, ml_noise = drift_and_noise(total_energies(relaxed, sampling, springs, 80), sampling)
    assert ml_noise < 2.0 * mm_noise
    assert abs(ml) < abs(mm) + 3.0 * error
    whole = PointCharges.switch_forces
    monkeypatch.setattr(PointCharges, "switch_forces", lambda self, g: tuple(0.0 * f for f in whole(self, g)))
    without, _, noise = drift_and_noise(total_energies(relaxed, sampling, springs, 80), sampling)
    assert max(abs(without), noise) > 10.0 * max(abs(ml), ml_noise)


def test_a_kept_frame_tells_where_it_comes_from_and_what_the_committee_thinks(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs
) -> None:
    result = sample(methanol, sampling, springs, seed=7, steps=50, interval=20, trust_disagreement=0.1)
    assert result.trusted
    assert result.steps == 50
    assert [frame.info["step"] for frame in result.frames] == [20, 40]
    info = dict(result.frames[0].info)
    assert 100.0 < float(info.pop("temperature")) < 600.0
    expected = {"step": 20, "walker": 0, "seed": 7, "disagreement": 0.05, "energy_disagreement": 0.01}
    assert info == expected | {"member_0": 0.04, "member_1": 0.06}
    assert all(frame.n_mm % 3 == 0 and frame.n_qm == 6 for frame in result.frames)
    np.testing.assert_array_equal(result.frames[0].core, [0, 0, 0, 0, 1, 1])


def test_force_field_frames_carry_no_disagreement(methanol: Assembly, sampling: SamplingSettings) -> None:
    calls: list[tuple[int, int]] = []
    result = sample(methanol, sampling, None, seed=7, steps=40, interval=20, progress=lambda *done: calls.append(done))
    assert set(result.frames[0].info) == {"step", "walker", "seed", "temperature"}
    assert calls == [(20, 40), (40, 40)]


def test_walkers_differ_and_repeat_with_their_seed(methanol: Assembly, sampling: SamplingSettings) -> None:
    two = sampling.model_copy(update={"walkers": 2, "platform": "Reference"})

    def hashes(seed: int) -> list[str]:
        return sample(methanol, two, None, seed=seed, steps=4, interval=2).frames.hashes

    first = hashes(11)
    assert len(set(first)) == 4
    assert first == hashes(11)
    assert not set(first) & set(hashes(12))


def test_driven_run_on_one_thread_repeats_bit_by_bit(
    methanol: Assembly, sampling: SamplingSettings, springs: Springs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    runs = [sample(methanol, sampling, springs, seed=3, steps=20, interval=10).frames.hashes for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_restart_keeps_velocities(methanol: Assembly, sampling: SamplingSettings) -> None:
    nve = sampling.model_copy(update={"ensemble": "nve", "platform": "Reference"})
    once = sample(methanol, nve, None, seed=1, steps=20, interval=10).assembly
    half = sample(methanol, nve, None, seed=1, steps=10, interval=10).assembly
    twice = sample(half, nve, None, seed=99, steps=10, interval=10).assembly
    np.testing.assert_allclose(twice.positions, once.positions, atol=1e-5)
    still = sample(half.replace(velocities=None), nve, None, seed=99, steps=10, interval=10).assembly
    assert np.abs(still.positions - once.positions).max() > 1e-2


class Doubtful(Springs):
    """Disagrees more and more."""

    def evaluate(self, frame: Frame) -> Answer:
        answer = super().evaluate(frame)
        return dataclasses.replace(answer, disagreement=0.01 * self.calls)


def test_a_run_stops_at_the_edge_of_trust_and_brings_the_frames_so_far(
    methanol: Assembly, sampling: SamplingSettings
) -> None:
    driver = Doubtful(methanol.frame().positions)
    result = sample(methanol, sampling, driver, seed=1, steps=100, interval=4, trust_disagreement=0.1)
    assert not result.trusted
    assert 4 < result.steps < 11
    assert "trusted up to 0.100" in (result.reason or "")
    assert [frame.info["step"] for frame in result.frames] == [4, result.steps]
    last_kept = methanol.frame(result.assembly.positions, result.assembly.box)
    np.testing.assert_allclose(last_kept.positions, result.frames[0].positions, atol=1e-6)


class Broken(Springs):
    """Gives no number after a few steps."""

    def evaluate(self, frame: Frame) -> Answer:
        answer = super().evaluate(frame)
        return dataclasses.replace(answer, forces=answer.forces * np.nan) if self.calls > 8 else answer


class Violent(Springs):
    """Tears the region apart."""

    def evaluate(self, frame: Frame) -> Answer:
        answer = super().evaluate(frame)
        blast = 300.0 * frame.positions if self.calls > 8 else 0.0
        return dataclasses.replace(answer, forces=answer.forces + blast)


@pytest.mark.parametrize("kind", [Broken, Violent])
def test_a_run_that_breaks_is_stopped_and_not_trusted(
    methanol: Assembly, sampling: SamplingSettings, kind: type[Springs]
) -> None:
    result = sample(methanol, sampling, kind(methanol.frame().positions), seed=1, steps=400, interval=5)
    assert not result.trusted
    assert result.reason
    assert result.steps < 400
    assert result.frames[0].info["step"] == 5
    assert all(np.isfinite(frame.positions).all() for frame in result.frames)
    assert np.isfinite(result.assembly.positions).all()


class Foreign(Springs):
    """A committee made for other elements."""

    def evaluate(self, frame: Frame) -> Answer:
        raise InputError("elements 1, 7 were expected (got 6): train with this element")


def test_a_committee_that_does_not_fit_is_an_error_not_a_stop(methanol: Assembly, sampling: SamplingSettings) -> None:
    with pytest.raises(InputError, match="elements 1, 7"):
        sample(methanol, sampling, Foreign(methanol.frame().positions), seed=1, steps=4, interval=2)


def test_a_force_field_run_that_explodes_names_the_time_step(methanol: Assembly, sampling: SamplingSettings) -> None:
    wild = sampling.model_copy(update={"timestep": 60.0, "ensemble": "nve", "constraints": "none"})
    with pytest.raises(ConvergenceError, match=r"shorten sampling\.timestep"):
        sample(methanol, wild, None, seed=1, steps=400, interval=20)


def test_preparation_warms_the_system_and_repeats_with_its_seed(
    methanol: Assembly, sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    short = sampling.model_copy(update={"equilibration_steps": 200, "minimize_tolerance": 1.0})
    one, two = prepare(methanol, short, seed=4), prepare(methanol, short, seed=4)
    assert one.velocities is not None
    np.testing.assert_array_equal(one.positions, two.positions)
    run = sample(one, short, None, seed=1, steps=1, interval=1)
    assert 200.0 < float(run.frames[0].info["temperature"]) < 450.0


@pytest.mark.slow
def test_constant_pressure_brings_the_box_near_the_density_of_water(
    methanol: Assembly, sampling: SamplingSettings
) -> None:
    npt = sampling.model_copy(update={"ensemble": "npt", "equilibration_steps": 6000, "timestep": 1.0})
    before, after = methanol.box, prepare(methanol, npt, seed=4).box
    assert before is not None
    assert after is not None
    assert not np.array_equal(before, after)
    density = (methanol.n_atoms - 6) / 3 / np.linalg.det(after)
    assert 0.028 < density < 0.037


@pytest.mark.parametrize(
    ("changes", "box", "message"),
    [
        ({"nonbonded_cutoff": 9.0}, True, "half the shortest box edge, 8.00"),
        ({"ensemble": "npt"}, False, "a periodic box was expected for npt"),
    ],
)
def test_settings_that_do_not_fit_the_box_are_bad_input(
    methanol: Assembly, sampling: SamplingSettings, changes: dict[str, object], box: bool, message: str
) -> None:
    assembly = methanol if box else methanol.replace(box=None)
    with pytest.raises(InputError, match=message):
        sample(assembly, sampling.model_copy(update=changes), None, seed=1, steps=1, interval=1)


def test_a_missing_platform_is_a_resource_error(methanol: Assembly, sampling: SamplingSettings) -> None:
    missing = [name for name in ("CUDA", "OpenCL") if name not in platforms()]
    for name in missing:
        with pytest.raises(ResourceError, match=f"{name} was expected"):
            sample(methanol, sampling.model_copy(update={"platform": name}), None, seed=1, steps=1, interval=1)


@pytest.mark.parametrize("name", ["auto", *platforms()])
def test_every_platform_of_this_machine_runs(name: str, methanol: Assembly, sampling: SamplingSettings) -> None:
    found = sample(methanol, sampling.model_copy(update={"platform": name}), None, seed=1, steps=2, interval=1)
    assert len(found.frames) == 2


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENMM_CPU_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == "3"
    monkeypatch.setenv("OPENMM_CPU_THREADS", "2")
    assert threads() == "2"
    monkeypatch.delenv("OPENMM_CPU_THREADS")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == "1"
