"""The embedded level as an ASE calculator: it optimises, and its dynamics keep the energy."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from cheap_level import make_level

from aiida_hqe.embedding.calculator import EmbeddedCalculator
from aiida_hqe.embedding.label import label
from aiida_hqe.errors import ConvergenceError, InputError

MP2 = {"method": "mp2", "density_fit": True, "frozen_core": True}
SPADE = {"core_orbitals": [5]}


def atoms_of(frame, level, **changes):
    """The QM atoms of a frame in its charges, with the embedded calculator."""
    atoms = Atoms(numbers=frame.numbers, positions=frame.positions)
    options = {"core": frame.core, "mm_positions": frame.mm_positions, "mm_charges": frame.mm_charges, **changes}
    atoms.calc = EmbeddedCalculator(level, **options)
    return atoms


def level_of(forces="analytic", xc="hf", **core):
    return make_level(environment={"xc": xc}, core={**MP2, **core}, embedding=SPADE, forces=forces)


def test_a_second_geometry_starts_from_the_first_and_ends_where_a_label_does(dimer):
    atoms = atoms_of(dimer, level_of())
    atoms.get_potential_energy()
    atoms.positions += 0.02 * np.random.default_rng(1).normal(size=(6, 3))
    expected = label(dimer.replace(positions=atoms.positions, mm_numbers=[0] * 4), level_of())
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-6)
    assert atoms.get_forces() == pytest.approx(np.array(expected.forces), abs=1e-5)
    assert atoms.calc.results["mm_forces"] == pytest.approx(np.array(expected.mm_forces), abs=1e-5)
    assert atoms.calc.results["charge_gradient"] == pytest.approx(np.array(expected.charge_gradient), abs=1e-5)
    assert atoms.calc.last.frame == expected.frame


def test_an_optimised_structure_has_no_forces_and_a_lower_energy(water):
    atoms = atoms_of(water, level_of(), mm_positions=None, mm_charges=None)
    atoms.positions *= 1.05
    start = atoms.get_potential_energy()
    assert BFGS(atoms, logfile=None).run(fmax=0.02, steps=15)
    assert atoms.get_potential_energy() < start - 0.01
    assert np.abs(atoms.get_forces()).max() < 0.02


def test_energy_and_forces_of_a_composite_level_belong_together(dimer):
    atoms = atoms_of(dimer, level_of({"method": "hf"}))
    found = atoms.get_potential_energy()
    assert found == pytest.approx(atoms.calc.last.force_energy, abs=1e-12)
    assert found - atoms.calc.last.energy > 0.5
    h, direction = 2e-3, np.random.default_rng(4).normal(size=(6, 3))
    slope = -np.sum(atoms.get_forces() * direction)
    energies = []
    for sign in (1, -1):
        atoms.positions = dimer.positions + sign * h * direction
        energies.append(atoms.get_potential_energy())
    assert (energies[0] - energies[1]) / (2 * h) == pytest.approx(slope, abs=1e-3)


def test_without_target_forces_the_calculator_is_that_of_the_environment(dimer):
    atoms = atoms_of(dimer, level_of("none"))
    assert atoms.get_potential_energy() == atoms.calc.last.environment_energy
    assert atoms.get_forces() == pytest.approx(np.array(atoms.calc.last.environment_forces))


def test_other_charges_are_other_results(water):
    atoms = atoms_of(water, level_of())
    near = atoms.get_potential_energy()
    atoms.calc.set_charges(water.mm_positions * 4.0, water.mm_charges)
    assert abs(atoms.get_potential_energy() - near) > 0.005


def test_what_cannot_be_labelled_is_a_typed_error(water, dimer):
    with pytest.raises(InputError, match="core_orbitals"):
        atoms_of(dimer, level_of(), core=[1, 1, 1, 2, 2, 2]).get_potential_energy()
    with pytest.raises(InputError, match="unpaired"):
        atoms_of(water, level_of(), charge=1, spin=1).get_forces()
    clash = atoms_of(water, level_of(), mm_positions=[water.positions[0]], mm_charges=[1.0])
    with pytest.raises((InputError, ConvergenceError)):
        clash.get_potential_energy()


def test_a_number_of_core_orbitals_that_may_change_on_the_way_is_refused(dimer):
    with pytest.raises(InputError, match="core_orbitals"):
        atoms_of(dimer, make_level(core=MP2, forces="analytic"))
    atoms = atoms_of(dimer, make_level(), core=[0] * 6)
    assert atoms.calc.level.embedding.core_orbitals is None


def fluctuation(methanol, timestep, duration=16.0):
    """Root mean square of the total energy about its mean in NVE dynamics, eV."""
    atoms = atoms_of(methanol, level_of(xc="pbe"))
    drawn = np.random.default_rng(3).normal(size=(6, 3)) * np.sqrt(300.0 * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(drawn - drawn.mean(axis=0))
    dynamics, energies = VelocityVerlet(atoms, timestep * units.fs), []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(round(duration / timestep))
    return float(np.std(energies))


@pytest.mark.slow
def test_the_energy_of_dynamics_fluctuates_with_the_square_of_the_time_step(methanol):
    """As Verlet's does if forces are derivatives of the energy; ``benchmarks/accuracy/embedded_nve.py`` has the drift."""
    coarse, fine = fluctuation(methanol, 1.0), fluctuation(methanol, 0.5)
    assert coarse < 0.02
    assert fine == pytest.approx(coarse / 4, rel=0.25)
