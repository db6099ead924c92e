"""Analytic forces are the derivative of the program's own energy.

On a grid frozen in space the formulas without grid response are exact. One random displacement of every atom and every charge
tests all components at once; its length is about six, so that 1e-8 along it is 2e-9 hartree/bohr for one component.
"""

import numpy as np
import pytest
from finite_differences import analytic, errors, every_component, level_of

from aiida_hqe.embedding import scf
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.gradients.forces import CoreGradients
from aiida_hqe.embedding.label import core_labels, target_energy
from aiida_hqe.units import HARTREE

FROZEN = {"frozen_core": True}
FITTED = {"density_fit": True}

METHODS = {
    "hf": {"method": "hf"},
    "mp2": {"method": "mp2"},
    "mp2 frozen core": {"method": "mp2", **FROZEN},
    "ri-mp2 frozen core": {"method": "mp2", **FROZEN, **FITTED},
    "ccsd": {"method": "ccsd"},
    "ccsd(t) frozen core": {"method": "ccsd(t)", **FROZEN},
    "ccsd(t) fitted": {"method": "ccsd(t)", **FITTED},
}


@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("method", ["hf", "mp2 frozen core", "ri-mp2 frozen core", "ccsd(t) frozen core"])
def test_forces_in_lda_are_the_derivative_of_the_energy(dimer, method):
    assert errors(dimer, level_of(**METHODS[method])) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("method", METHODS)
def test_each_component_in_lda_is_the_derivative_of_the_energy(dimer, method):
    found = errors(dimer, level_of(**METHODS[method]), directions=every_component(dimer))
    assert len(found) == 36
    assert found == pytest.approx(0.0, abs=1e-8)


@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("method", ["mp2", pytest.param("ccsd(t) frozen core", marks=pytest.mark.slow)])
def test_forces_of_a_core_in_exact_integrals_in_a_fitted_environment_are_the_derivative_of_the_energy(dimer, method):
    """Its repulsion in products of densities is met in the same pass over the integrals as its two-particle density."""
    assert errors(dimer, level_of(environment=FITTED, **METHODS[method])) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("fitted", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("exchange", ["0.2*HF + 0.8*LR_HF(0.3)", "0.8*LR_HF(0.3)", "0.25*SR_HF(0.2)"])
def test_forces_with_range_separated_exchange_are_the_derivative_of_the_energy(dimer, exchange, fitted):
    """Everywhere and more of it far away, far away alone, nearby alone, beside the LDA, which is smooth.

    Fitting functions are linearly dependent in the long-range operator, so that the fit leaves some of their space out.
    """
    level = level_of(f"{exchange} + LDA,VWN", environment={"density_fit": fitted}, method="hf", **FITTED)
    assert errors(dimer, level) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.usefixtures("frozen_grid")
def test_forces_in_pbe_are_the_derivative_of_the_energy(dimer):
    """A GGA's embedded energy is rough by about 1e-9 hartree on a scale of 1e-3 bohr: 1e-7 along this displacement."""
    assert errors(dimer, level_of("pbe", method="mp2", **FITTED), h=1e-3) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize(
    ("xc", "environment"),
    [
        ("camb3lyp", {}),
        ("camb3lyp", FITTED),
        ("pbe0", {}),
        ("pbe0", FITTED),
        ("tpss", {}),
        ("lda,vwn", FITTED),
        ("lda,vwn", {"charge_radius": "0.6 angstrom"}),
    ],
)
def test_forces_in_other_environments_are_the_derivative_of_the_energy(dimer, xc, environment):
    level = level_of(xc, environment=environment, method="mp2", **FITTED)
    assert errors(dimer, level, h=5e-4) == pytest.approx(0.0, abs=1e-7)


def test_forces_of_two_cores_are_the_derivative_of_the_energy(dimer):
    """Low level Hartree-Fock, which needs no grid; one z-vector of the environment serves both cores."""
    frame = dimer.replace(core=[1, 1, 1, 2, 2, 2])
    level = level_of("hf", core_orbitals=[5, 5], method="mp2", **FROZEN, **FITTED)
    assert errors(frame, level) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("rung", ["damping", "second-order"])
def test_forces_do_not_depend_on_how_the_environment_converged(dimer, monkeypatch, rung):
    """A level shift may stay in the orbital energies that PySCF keeps."""
    level = level_of("hf", method="mp2", **FITTED)
    expected = analytic(dimer, level)
    monkeypatch.setattr(scf, "RUNGS", {rung: scf.RUNGS[rung]})
    monkeypatch.setattr(scf, "ENERGY_TOLERANCE", 1e-9)
    monkeypatch.setattr(scf, "GRADIENT_TOLERANCE", 1e-6)
    assert analytic(dimer, level) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_grid")
def test_forces_of_two_cores_in_lda_are_the_derivative_of_the_energy(dimer):
    frame = dimer.replace(core=[1, 1, 1, 2, 2, 2])
    assert errors(frame, level_of(core_orbitals=[5, 5], method="ccsd", **FROZEN)) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("xc", ["lda,vwn", pytest.param("pbe", marks=pytest.mark.slow)])
def test_forces_with_grid_response_are_the_derivative_of_the_energy_on_the_moving_grid(dimer, xc):
    """And they balance those on the charges; the torque is that of angular grids, which do not turn with the molecule."""
    level = level_of(xc, environment={"grid_response": True}, method="mp2", **FITTED)
    assert errors(dimer, level, h=1e-3) == pytest.approx(0.0, abs=1e-7 if xc == "pbe" else 2e-8)
    assert np.abs(analytic(dimer, level).sum(axis=0)).max() < 1e-7


def test_derivatives_with_the_charges_are_those_of_the_energy(dimer):
    level = level_of("hf", method="mp2", **FITTED)
    h, change = 1e-3, np.random.default_rng(2).normal(size=dimer.n_mm)
    energies = [
        target_energy(level, dimer.replace(mm_charges=dimer.mm_charges + k * h * change)) / HARTREE
        for k in (-2, -1, 1, 2)
    ]
    expected = np.dot([1, -8, 8, -1], energies) / (12 * h)
    state = solve_environment(dimer, level.environment)
    cores = CoreGradients(state, level.core)
    core_labels(dimer, level, state, cores)
    environment, added = cores.total()
    found = environment.charge_values + added.charge_values
    assert found @ change == pytest.approx(expected, abs=1e-8)
