"""Forces with a truncated virtual space are the derivative of the energy, whose shells follow the atoms."""

import numpy as np
import pytest
from finite_differences import analytic, errors, level_of

from aiida_hqe.embedding.gradients import truncation
from aiida_hqe.embedding.label import label
from aiida_hqe.frames import Frame

BASIS = {"basis": "6-31g"}
SHELLS = {"virtuals": {"shells": 1}, "frozen_core": True}


@pytest.fixture(scope="module")
def hydrogen() -> Frame:
    """A hydrogen molecule, the core, next to water: small enough a core for two shells with something left over."""
    return Frame(
        numbers=[1, 1, 8, 1, 1],
        positions=[[0.0, 0.1, 2.6], [0.2, 0.0, 3.3], [0.0, 0.0, 0.115], [0.05, 0.754, -0.459], [0.0, -0.754, -0.459]],
        charge=0,
        spin=0,
        core=[1, 1, 0, 0, 0],
        mm_numbers=[8],
        mm_positions=[[0.4, 2.0, 4.5]],
        mm_charges=[-0.6],
    )


@pytest.mark.parametrize("core", [{"method": "mp2"}, {"method": "mp2", "density_fit": True}, {"method": "ccsd(t)"}])
def test_forces_of_one_shell_are_the_derivative_of_the_energy(dimer, core):
    level = level_of("hf", environment=BASIS, **core, **SHELLS)
    found = label(dimer, level)
    assert found.cores[0].virtuals == 13
    assert errors(dimer, level) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("n_shells", [1, 2])
def test_forces_of_shell_upon_shell_are_the_derivative_of_the_energy(hydrogen, n_shells):
    level = level_of("hf", environment=BASIS, core_orbitals=[1], method="mp2", virtuals={"shells": n_shells})
    assert label(hydrogen, level).cores[0].virtuals == 4 * n_shells
    assert errors(hydrogen, level) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_grid")
@pytest.mark.parametrize("method", ["mp2", "ccsd", "ccsd(t)"])
def test_forces_of_truncated_cores_in_lda_are_the_derivative_of_the_energy(dimer, method):
    level = level_of(environment=BASIS, method=method, density_fit=method != "ccsd", **SHELLS)
    assert errors(dimer, level) == pytest.approx(0.0, abs=1e-8)


def test_all_shells_are_the_full_virtual_space(dimer):
    found, full = (
        analytic(dimer, level_of("hf", environment=BASIS, method="mp2", virtuals=v)) for v in ({"shells": 9}, "full")
    )
    assert found == pytest.approx(full, abs=1e-9)


def test_a_shell_that_is_not_clear_of_the_next_has_no_forces(dimer, monkeypatch):
    monkeypatch.setattr(truncation, "SMALLEST", 0.9)
    found = label(dimer, level_of("hf", environment=BASIS, method="mp2", **SHELLS))
    assert (found.status, found.error_kind) == ("failed", "input")
    assert "shell" in found.message
    assert np.all(found.forces is None)
