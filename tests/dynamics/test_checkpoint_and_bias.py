"""Restarts to the last bit, and biased runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
import pytest
from pydantic import ValidationError

from aiida_hqe.dynamics import sample as module
from aiida_hqe.dynamics import simulation
from aiida_hqe.dynamics.bias import Bias
from aiida_hqe.dynamics.checkpoint import Checkpoint
from aiida_hqe.dynamics.sample import Sample, sample
from aiida_hqe.dynamics.settings import BiasSettings, SamplingSettings
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.units import BOLTZMANN, KJ_PER_MOL

from .conftest import Springs

HILLS = {"kind": "metadynamics", "distances": [[0, 4]], "lower": "1.2 angstrom", "upper": "2 angstrom"}


class KilledError(Exception):
    """As a batch system would."""


def run(assembly: Assembly, sampling: SamplingSettings, checkpoint: Path | None, kill_at: int | None = None) -> Sample:
    """Two walkers of 40 driven steps; killed when so many steps of both are done."""

    def progress(done: int, total: int) -> None:
        if done == kill_at:
            raise KilledError

    driver = Springs(assembly.frame().positions)
    return sample(assembly, sampling, driver, seed=5, steps=40, interval=10, progress=progress, checkpoint=checkpoint)


@pytest.fixture(
    params=[{"ensemble": "nvt"}, {"ensemble": "npt", "bias": HILLS | {"every": 4}}], ids=["nvt", "npt-biased"]
)
def two(
    request: pytest.FixtureRequest, sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> SamplingSettings:
    monkeypatch.setenv("OPENMM_CPU_THREADS", "1")
    monkeypatch.setattr(module, "WRITE_EVERY", 0.0)
    return SamplingSettings.model_validate({**sampling.model_dump(), "walkers": 2, **request.param})


@pytest.mark.parametrize("kill_at", [20, 60])
def test_a_killed_run_goes_on_to_the_same_frames_bit_by_bit(
    kill_at: int, methanol: Assembly, two: SamplingSettings, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint"
    whole = run(methanol, two, None)
    with pytest.raises(KilledError):
        run(methanol, two, path, kill_at)
    assert path.is_file()
    again = run(methanol, two, path)
    assert again.frames == whole.frames
    assert again.steps == whole.steps == 80
    np.testing.assert_array_equal(again.assembly.positions, whole.assembly.positions)
    np.testing.assert_array_equal(again.assembly.velocities, whole.assembly.velocities)
    assert not path.exists()


def test_a_truncated_checkpoint_and_one_of_another_run_are_refused(
    methanol: Assembly, sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "WRITE_EVERY", 0.0)
    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        run(methanol, sampling, path, 10)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="other settings or another assembly"):
        run(methanol, sampling.model_copy(update={"temperature": 310.0}), path)
    for cut in (0, 20, 1000, -1):
        path.write_bytes(whole[:cut])
        with pytest.raises(IntegrityError, match="remove it"):
            run(methanol, sampling, path)
    assert Checkpoint.read(tmp_path / "none", "key") is None


@pytest.mark.parametrize("change", ["region", "core", "charge", "cutoff"])
def test_a_checkpoint_of_another_division_of_the_same_atoms_is_refused(
    change: str, methanol: Assembly, sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "WRITE_EVERY", 0.0)
    path, first = tmp_path / "checkpoint", methanol.replace(cutoff=4.0, switch_width=1.0)
    with pytest.raises(KilledError):
        run(first, sampling, path, 10)
    away = methanol.positions - methanol.positions[methanol.qm_atoms[-1]]
    away -= np.diag(methanol.box) * np.round(away / np.diag(methanol.box))
    nearest = methanol.group[np.argmin(np.where(methanol.group < 0, np.inf, np.linalg.norm(away, axis=1)))]
    water = np.flatnonzero(methanol.group == nearest)
    larger = {
        "qm_atoms": np.append(methanol.qm_atoms, water),
        "core": np.pad(methanol.core, (0, len(water))),
        "group": np.where(methanol.group == nearest, -1, methanol.group),
    }
    other = first.replace(
        **{
            "region": larger,
            "core": {"core": np.zeros_like(methanol.core)},
            "charge": {"charge": methanol.charge + 2},
            "cutoff": {"cutoff": first.cutoff - 0.1},
        }[change]
    )
    with pytest.raises(InputError, match="other settings or another assembly"):
        run(other, sampling, path)
    assert path.is_file()


def test_a_checkpoint_of_another_platform_is_refused_on_one_line(
    methanol: Assembly, sampling: SamplingSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "WRITE_EVERY", 0.0)
    path = tmp_path / "checkpoint"
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(simulation, "_platform", lambda _asked: ("Reference", {}))
        with pytest.raises(KilledError):
            run(methanol, sampling, path, 10)
    with pytest.raises(IntegrityError, match=r"different Platform.*remove it") as refused:
        run(methanol, sampling, path)
    assert "\n" not in str(refused.value)
    assert path.is_file()


def pair(bias: BiasSettings, steps: int, stiffness: float = 200.0) -> tuple[Bias, np.ndarray]:
    """Two atoms on a spring of 3 angstrom (kJ/mol/nm^2) at 300 K, and the bias; their distances in angstrom."""
    system = openmm.System()
    system.addParticle(10.0)
    system.addParticle(10.0)
    spring = openmm.HarmonicBondForce()
    spring.addBond(0, 1, 0.3, stiffness)
    system.addForce(spring)
    found = Bias(bias, 300.0, 2, periodic=False)
    system.addForce(found.force)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.004)
    integrator.setRandomNumberSeed(3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[0, 0, 0], [0.3, 0, 0]])
    context.setVelocitiesToTemperature(300.0, 1)
    distances = []
    for _ in range(steps // bias.every):
        integrator.step(bias.every)
        found.deposit(context)
        distances.append(found.coordinate(context))
    return found, np.array(distances)


def test_a_harmonic_bias_moves_the_coordinate_as_two_springs_in_parallel_do() -> None:
    bias = BiasSettings(distances=[[0, 1]], centre="4 angstrom", width="0.1 angstrom", every=10)
    _, distances = pair(bias, 60000)
    kt = BOLTZMANN * 300.0
    own, added = 200.0 * KJ_PER_MOL / 100.0, kt / 0.1**2
    width = np.sqrt(kt / (own + added))
    # Without the bias the density in the distance r is r^2 times Boltzmann's: 2 kT / r pulls outwards.
    expected = (own * 3.0 + added * 4.0 + 2.0 * kt / 3.9) / (own + added)
    assert distances[500:].mean() == pytest.approx(expected, abs=0.01)
    assert distances[500:].std() == pytest.approx(width, rel=0.1)


def test_metadynamics_fills_the_well_and_widens_what_is_visited() -> None:
    changes = {"distances": [[0, 1]], "lower": "2 angstrom", "upper": "4 angstrom", "width": "0.1 angstrom"}
    hills = BiasSettings(kind="metadynamics", height="2 meV", every=50, bias_factor=20.0, **changes)
    idle = hills.model_copy(update={"height": 1e-12})
    (filled, wide), (_, narrow) = pair(hills, 60000, 20000.0), pair(idle, 60000, 20000.0)
    assert wide.std() > 1.5 * narrow.std()
    assert filled.heights.max() > 5 * 0.002
    centre, edge = filled.heights[len(filled.heights) // 2], filled.heights[0]
    assert centre > edge


def test_forces_of_a_bias_of_two_distances_are_the_slope_of_its_energy() -> None:
    settings = BiasSettings(distances=[[0, 1], [1, 2]], signs=[1, -1], centre="0.5 angstrom", width="0.2 angstrom")
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    system.addForce(Bias(settings, 300.0, 3, periodic=False).force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    places = np.array([[0.0, 0.0, 0.0], [0.11, 0.02, 0.0], [0.1, 0.15, 0.03]])
    context.setPositions(places)
    state = context.getState(energy=True, forces=True)
    x = 10 * (np.linalg.norm(places[1] - places[0]) - np.linalg.norm(places[2] - places[1]))
    expected = 0.5 * BOLTZMANN * 300.0 * ((x - 0.5) / 0.2) ** 2 / KJ_PER_MOL
    assert state.getPotentialEnergy()._value == pytest.approx(expected, rel=1e-9)
    forces = np.array(state.getForces(asNumpy=True)._value)
    assert np.abs(forces.sum(axis=0)).max() < 1e-9
    ends = []
    for sign in (1, -1):
        moved = places.copy()
        moved[1, 1] += sign * 1e-5
        context.setPositions(moved)
        ends.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert forces[1, 1] == pytest.approx(-(ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_a_biased_run_keeps_the_coordinate_with_each_frame(methanol: Assembly, sampling: SamplingSettings) -> None:
    bias = BiasSettings(distances=[[0, 4]], centre="1.6 angstrom", width="0.03 angstrom")
    biased = sampling.model_copy(update={"bias": bias})
    found = sample(methanol, biased, None, seed=1, steps=400, interval=100)
    for frame in found.frames:
        assert frame.info["coordinate"] == pytest.approx(
            np.linalg.norm(frame.positions[0] - frame.positions[4]), abs=1e-4
        )
    assert np.mean([float(frame.info["coordinate"]) for frame in found.frames[1:]]) > 1.45


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre": None}, "a centre was expected"),
        ({"signs": [1, -1]}, "one sign for each of the 1 distances"),
        ({"distances": [[3, 3]]}, "two different atoms"),
        ({"kind": "metadynamics", "lower": "3 angstrom", "upper": "2 angstrom"}, "lower below upper"),
    ],
)
def test_an_incomplete_bias_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BiasSettings.model_validate({"distances": [[0, 1]], "centre": "2 angstrom", **changes})


def test_a_bias_on_an_atom_that_is_not_there_is_refused(methanol: Assembly, sampling: SamplingSettings) -> None:
    bias = BiasSettings(distances=[[0, 10**6]], centre="2 angstrom")
    with pytest.raises(InputError, match=r"because the assembly holds \d+ \(got 1000000\)"):
        sample(methanol, sampling.model_copy(update={"bias": bias}), None, seed=1, steps=2, interval=1)
