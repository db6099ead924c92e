"""The energy that leapfrog conserves: constant where the total energy is not, and a sharp test of forces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmm
import pytest
from openmm import unit

from aiida_hqe.dynamics.region import RegionForce
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.dynamics.shadow import REACH, shadow_kinetic
from aiida_hqe.dynamics.simulation import Simulation
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.charges import PointCharges
from aiida_hqe.qmmm.setup import nonbonded
from aiida_hqe.units import KJ_PER_MOL

from .conftest import Springs

_EV = 1e4 * KJ_PER_MOL
"""One dalton angstrom^2 / fs^2."""


def test_two_coupled_vibrations_keep_the_energy_that_leapfrog_conserves() -> None:
    """Hydrogen on carbon, as stiff as O-H, and anharmonic, so that energy flows from one to the other."""
    masses, timestep = np.array([1.0, 12.0]), 0.5

    def potential(x: Floats) -> tuple[float, Floats]:
        stretch = x[0] - x[1]
        energy = 25 * (x[0] @ x[0]) + 30 * (x[1] @ x[1]) + 20 * (stretch @ stretch) + 40 * (x[0] @ x[0]) * x[1, 0]
        gradient = np.stack([50 * x[0] + 80 * x[0] * x[1, 0] + 40 * stretch, 60 * x[1] - 40 * stretch])
        gradient[1, 0] += 40 * (x[0] @ x[0])
        return energy, -gradient

    total, conserved = _follow([[0.05, 0.02, 0.0], [0.01, 0.0, 0.03]], masses, timestep, potential, 2000)
    assert np.std(total) > 1e-3
    assert np.std(conserved) < 1e-6


def test_rigid_bonds_do_no_work_on_the_energy_that_leapfrog_conserves() -> None:
    """A pendulum of length 1 in a strong field."""
    masses, timestep, field = np.array([1.0]), 0.5, np.array([3.0, 0.0, 1.0])

    def hold(new: Floats, old: Floats) -> Floats:
        along = new @ old[0]
        return new + (np.sqrt(along**2 - (new**2).sum() + 1.0) - along)[:, None] * old

    start = np.array([[0.0, 0.6, 0.8]])
    total, conserved = _follow(start, masses, timestep, lambda x: (float(x[0] @ field), -field[None]), 2000, hold)
    assert np.std(total) > 1e-3
    assert np.std(conserved) < 1e-6


def _follow(
    start: Floats | list[list[float]],
    masses: Floats,
    timestep: float,
    potential: Callable[[Floats], tuple[float, Floats]],
    steps: int,
    hold: Callable[[Floats, Floats], Floats] = lambda new, old: new,
) -> tuple[Floats, Floats]:
    """Total and conserved energies of each step of leapfrog from rest, eV."""
    path = [np.array(start)] * 2
    for _ in range(steps):
        force = potential(path[-1])[1] / (masses[:, None] * _EV)
        path.append(hold(2.0 * path[-1] - path[-2] + timestep**2 * force, path[-1]))
    total, conserved = [], []
    for k in range(REACH + 1, steps - REACH):
        energy, window = potential(path[k])[0], np.array(path[k - REACH : k + REACH + 1])
        velocity = (path[k + 1] - path[k - 1]) / (2.0 * timestep)
        total.append(energy + 0.5 * _EV * float((masses[:, None] * velocity**2).sum()))
        conserved.append(energy + shadow_kinetic(window, masses, timestep).sum())
    return np.array(total), np.array(conserved)


@pytest.fixture(scope="module")
def droplet(methanol: Assembly) -> Assembly:
    """Methanol in a drop of water, all of whose forces are smooth, so that nothing but a fault changes the energy."""
    system = openmm.XmlSerializer.deserialize(methanol.system)
    nonbonded(system).setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    return methanol.replace(system=openmm.XmlSerializer.serialize(system), box=None)


def conserved_energies(assembly: Assembly, sampling: SamplingSettings, driver: Springs, steps: int) -> Floats:
    """Conserved energy (meV) of each step of a driven run in double precision."""
    exact = sampling.model_copy(update={"ensemble": "nve", "platform": "Reference"})
    run = Simulation(assembly, exact, seed=3, force=RegionForce(assembly, driver))
    masses = np.array([run.system.getParticleMass(k).value_in_unit(unit.dalton) for k in range(assembly.n_atoms)])
    path, potential = [], []
    for _ in range(steps):
        run.step(1)
        path.append(run.positions()[0])
        energy = run.context.getState(energy=True).getPotentialEnergy()
        potential.append(energy.value_in_unit(unit.kilojoule_per_mole) * KJ_PER_MOL)
    windows = np.lib.stride_tricks.sliding_window_view(np.array(path), 2 * REACH + 1, axis=0)
    kinetic = [shadow_kinetic(np.moveaxis(window, -1, 0), masses, sampling.timestep).sum() for window in windows]
    return 1e3 * (np.array(kinetic) + potential[REACH:-REACH])


def test_driven_dynamics_conserve_energy_to_a_tenth_of_a_microelectronvolt_while_charges_come_and_go(
    droplet: Assembly, sampling: SamplingSettings, springs: Springs, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = droplet.point_charges(droplet.positions, None)
    ratio = charges.charges / droplet.charges[charges.sites]
    assert ((ratio > 0.01) & (ratio < 0.99)).sum() > 30
    energies = conserved_energies(droplet, sampling, springs, 60)
    whole = PointCharges.switch_forces
    monkeypatch.setattr(PointCharges, "switch_forces", lambda self, g: tuple(0.9999 * f for f in whole(self, g)))
    faulty = conserved_energies(droplet, sampling, springs, 60)
    assert np.ptp(energies) < 1e-4
    assert np.ptp(faulty) > 3e-4
