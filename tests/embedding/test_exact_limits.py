"""Limits in which embedding must be exact."""

import numpy as np
import pytest
from cheap_level import make_level
from pyscf import cc, mp, qmmm, scf

from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels, label
from aiida_hqe.embedding.meanfield import embed
from aiida_hqe.embedding.molecule import build_molecule, core_atoms, point_charges
from aiida_hqe.embedding.partition import partition
from aiida_hqe.units import HARTREE


def added_energy_of_dft_in_dft(frame, level, core=1, count=5):
    """What embedding the environment's own functional adds, from a density that is far from the answer (hartree)."""
    state = solve_environment(frame, level.environment)
    split = partition(state, core_atoms(frame, core), level.embedding.partition, count)
    rng = np.random.default_rng(1)
    guess = []
    for spin, C in enumerate(split.core):
        mixed = C + 0.1 * state.virtual(spin) @ rng.normal(size=(state.virtual(spin).shape[1], C.shape[1]))
        guess.append(mixed @ np.linalg.inv(np.linalg.cholesky(mixed.T @ state.overlap @ mixed)).T)
    return embed(state, split, level.embedding, state.potential, state.density_of(guess)).energy


@pytest.mark.parametrize("scheme", ["spade", "ibo", "pipek-mezey"])
@pytest.mark.parametrize("projector", ["huzinaga", "fermi-huzinaga"])
def test_pbe_in_pbe_reproduces_the_supersystem(methanol, scheme, projector):
    level = make_level(embedding={"partition": scheme, "projector": projector})
    assert abs(added_energy_of_dft_in_dft(methanol, level)) < 1e-9


@pytest.mark.parametrize("xc", ["pbe", "pbe0"])
def test_dft_in_dft_reproduces_the_supersystem_in_charges(dimer, xc):
    assert abs(added_energy_of_dft_in_dft(dimer, make_level(environment={"xc": xc}))) < 1e-9


def test_range_separated_dft_in_dft_reproduces_the_supersystem(water):
    frame = water.replace(core=[1, 0, 0])
    level = make_level(environment={"xc": "camb3lyp"})
    assert abs(added_energy_of_dft_in_dft(frame, level, count=3)) < 1e-9


def test_nonlinear_pbe_in_pbe_reproduces_the_supersystem(dimer):
    assert abs(added_energy_of_dft_in_dft(dimer, make_level(embedding={"functional": "nonlinear"}))) < 1e-9


@pytest.mark.parametrize("xc", ["pbe", "pbe0"])
def test_open_shell_dft_in_dft_reproduces_the_supersystem(radical, xc):
    assert abs(added_energy_of_dft_in_dft(radical, make_level(environment={"xc": xc}))) < 1e-9


def test_error_of_a_level_shift_falls_as_its_inverse(dimer):
    errors = [
        abs(added_energy_of_dft_in_dft(dimer, make_level(embedding={"projector": {"level_shift": mu}})))
        for mu in (1e3, 1e4)
    ]
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(10.0, rel=0.1)


def test_two_cores_of_the_same_functional_add_nothing(dimer):
    frame = dimer.replace(core=[1, 1, 1, 2, 2, 2])
    assert abs(sum(added_energy_of_dft_in_dft(frame, make_level(), core) for core in (1, 2))) < 1e-9


def reference(frame, basis, method, *, frozen=None, density_fit=False):
    """PySCF's own energy of the whole region in its charges (hartree)."""
    mol = build_molecule(frame, basis)
    mf = scf.RHF(mol) if frame.spin == 0 else scf.UHF(mol)
    if density_fit:
        mf = mf.density_fit()
    mf = qmmm.mm_charge(mf, *point_charges(frame), unit="Bohr")
    mf.conv_tol, mf.conv_tol_grad = 1e-12, 1e-8
    energy = mf.kernel()
    if method == "hf":
        return energy
    if method == "mp2":
        return energy + mp.MP2(mf, frozen=frozen).kernel()[0]
    solver = cc.CCSD(mf, frozen=frozen)
    solver.conv_tol, solver.conv_tol_normt = 1e-10, 1e-8
    solver.kernel()
    return energy + solver.e_corr + (solver.ccsd_t() if method == "ccsd(t)" else 0.0)


@pytest.mark.parametrize("method", ["hf", "mp2", "ccsd", "ccsd(t)"])
@pytest.mark.parametrize("functional", ["linear", "nonlinear"])
def test_a_core_of_everything_is_the_canonical_method(water, method, functional):
    level = make_level(
        environment={"basis": "6-31g"},
        core={"method": method},
        embedding={"core_orbitals": [5], "functional": functional},
    )
    found = label(water, level)
    assert found.message is None
    assert found.energy / HARTREE == pytest.approx(reference(water, "6-31g", method), abs=1e-8)


@pytest.mark.parametrize("method", ["mp2", "ccsd(t)"])
def test_a_frozen_core_of_everything_is_the_canonical_frozen_core_method(water, method):
    level = make_level(core={"method": method, "frozen_core": True}, embedding={"core_orbitals": [5]})
    assert label(water, level).energy / HARTREE == pytest.approx(reference(water, "sto-3g", method, frozen=1), abs=1e-8)


@pytest.mark.parametrize("method", ["hf", "mp2", "ccsd(t)"])
def test_a_density_fitted_core_of_everything_is_the_density_fitted_method(water, method):
    level = make_level(core={"method": method, "density_fit": True}, embedding={"core_orbitals": [5]})
    expected = reference(water, "sto-3g", method, density_fit=True)
    assert label(water, level).energy / HARTREE == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("method", ["hf", "mp2", "ccsd", "ccsd(t)"])
def test_an_open_shell_core_of_everything_is_the_unrestricted_method(water, method):
    frame = water.replace(charge=1, spin=1)
    level = make_level(core={"method": method}, embedding={"core_orbitals": [5]})
    found = label(frame, level)
    assert found.message is None
    assert found.energy / HARTREE == pytest.approx(reference(frame, "sto-3g", method), abs=1e-8)


def test_static_energy_of_everything_is_hartree_fock_at_the_kohn_sham_density(water):
    level = make_level(embedding={"core_orbitals": [5], "functional": "static"})
    state = solve_environment(water, level.environment)
    mf = qmmm.mm_charge(scf.RHF(state.mol), *point_charges(water), unit="Bohr")
    expected = mf.energy_tot(dm=state.density[0])
    (core,) = core_labels(water, level, state)
    assert state.energy + core.mean_field_energy / HARTREE == pytest.approx(expected, abs=1e-9)


def test_static_correlation_with_singles_recovers_most_of_what_relaxation_would(water):
    energies = {}
    for functional in ("linear", "static"):
        level = make_level(
            environment={"basis": "6-31g"},
            core={"method": "ccsd(t)"},
            embedding={"core_orbitals": [5], "functional": functional},
        )
        energies[functional] = label(water, level).energy / HARTREE
    assert energies["static"] == pytest.approx(energies["linear"], abs=5e-4)


def test_level_shift_and_huzinaga_agree_for_a_correlated_core(dimer):
    energies = [
        label(
            dimer,
            make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5], "projector": projector}),
        ).energy
        for projector in ("huzinaga", "fermi-huzinaga", {"level_shift": 1e6})
    ]
    assert energies[1] == pytest.approx(energies[0], abs=1e-9)
    assert energies[2] == pytest.approx(energies[0], abs=1e-5)
