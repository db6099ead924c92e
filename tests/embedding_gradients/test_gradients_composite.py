"""Energies of one method with forces of another, of the same cores; and derivatives with the values of the charges."""

import importlib.util

import numpy as np
import pytest
from finite_differences import analytic, errors, level_of
from pydantic import ValidationError

from aiida_hqe.embedding.label import label, target_energy
from aiida_hqe.embedding.level import Level
from aiida_hqe.units import HARTREE


@pytest.mark.parametrize("fitted", [None, True])
def test_a_composite_label_has_the_energy_of_one_method_and_the_forces_of_another(dimer, fitted):
    """Forces are those of a label of the other method, whose energy it names; its own energy is the accurate one."""
    forces = {"method": "mp2"} if fitted is None else {"method": "mp2", "density_fit": fitted}
    found = label(dimer, level_of("hf", forces=forces, method="ccsd(t)", frozen_core=True))
    accurate = label(dimer, level_of("hf", forces="none", method="ccsd(t)", frozen_core=True))
    cheap = label(dimer, level_of("hf", method="mp2", frozen_core=True, density_fit=bool(fitted)))
    assert found.energy == pytest.approx(accurate.energy, abs=1e-7)
    assert found.force_method == "mp2"
    assert found.force_energy == pytest.approx(cheap.energy, abs=1e-7)
    assert abs(found.force_energy - found.energy) > 0.1
    for name in ("forces", "mm_forces", "charge_gradient"):
        assert np.array(getattr(found, name)) == pytest.approx(np.array(getattr(cheap, name)), abs=1e-6)


def test_a_composite_label_says_so_on_the_frame_and_a_plain_one_has_one_energy(dimer):
    composite = label(dimer, level_of("hf", forces={"method": "hf"}, method="mp2"))
    plain = label(dimer, level_of("hf", method="mp2"))
    assert composite.apply(dimer).info["force_method"] == "hf"
    assert (plain.force_method, plain.force_energy) == ("mp2", None)
    assert "force_method" not in plain.apply(dimer).info
    assert "force_method" not in plain.apply(composite.apply(dimer)).info  # labelled again at another level


def test_composite_forces_serve_a_core_whose_energy_has_truncated_virtuals(dimer):
    basis = {"basis": "6-31g"}
    level = level_of("hf", environment=basis, forces={"method": "mp2"}, method="ccsd", virtuals={"shells": 1})
    full = label(dimer, level_of("hf", environment=basis, method="mp2"))
    found = label(dimer, level)
    assert found.cores[0].virtuals < full.cores[0].virtuals
    assert np.array(found.forces) == pytest.approx(np.array(full.forces), abs=1e-6)


@pytest.mark.parametrize("forces", [{"method": "lno-ccsd(t)"}, {}, {"method": "mp2", "virtuals": "full"}, "some"])
def test_forces_that_are_no_choice_are_no_level(forces):
    with pytest.raises(ValidationError, match="forces"):
        Level(forces=forces)


@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("xc", ["hf", pytest.param("lda,vwn", marks=pytest.mark.slow)])
def test_derivatives_with_the_charges_are_those_of_both_energies(dimer, xc):
    """Potential of the QM region at each charge, along a random change of all of them."""
    level = level_of(xc, method="mp2", frozen_core=True, density_fit=True)
    found, h, change = label(dimer, level), 1e-3, np.random.default_rng(2).normal(size=dimer.n_mm)
    changed = [dimer.replace(mm_charges=dimer.mm_charges + k * h * change) for k in (-2, -1, 1, 2)]
    environment = [target_energy(level, frame.replace(core=[0] * 6)) / HARTREE for frame in changed]
    target = [target_energy(level, frame) / HARTREE for frame in changed]
    for energies, gradient in ((environment, found.environment_charge_gradient), (target, found.charge_gradient)):
        expected = np.dot([1, -8, 8, -1], energies) / (12 * h)
        assert np.dot(gradient, change) / HARTREE == pytest.approx(expected, abs=1e-8)


def test_a_charge_sees_the_potential_of_a_neutral_molecule_vanish_far_away(water):
    far = water.replace(mm_positions=np.add(water.mm_positions, [0.0, 0.0, 500.0]))
    found = label(far, level_of("hf", core_orbitals=[5], method="mp2"))
    assert np.abs(found.charge_gradient).max() < 1e-4
    near = label(water, level_of("hf", core_orbitals=[5], method="mp2"))
    assert np.abs(near.charge_gradient).max() > 0.1


@pytest.mark.skipif(importlib.util.find_spec("dftd3") is None, reason="needs the extra 'dispersion'")
@pytest.mark.parametrize("kind", ["d3bj", "d4"])
def test_dispersion_is_added_once_to_forces_as_to_energies(dimer, kind):
    """It is in the environment; what it is among the atoms of the core, the core's own method replaces."""
    level = level_of("hf", environment={"dispersion": kind}, method="mp2", density_fit=True)
    assert errors(dimer, level) == pytest.approx(0.0, abs=1e-8)
    whole = level_of("hf", environment={"dispersion": kind}, core_orbitals=[10], method="mp2", density_fit=True)
    without = level_of("hf", core_orbitals=[10], method="mp2", density_fit=True)
    everything = dimer.replace(core=[1] * 6)
    assert analytic(everything, whole) == pytest.approx(analytic(everything, without), abs=1e-9)
