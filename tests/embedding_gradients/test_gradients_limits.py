"""Limits in which the forces are known, and balances that they must keep."""

import numpy as np
import pytest
from finite_differences import analytic, level_of
from pyscf import cc, mp, qmmm, scf
from pyscf.cc import ccsd_t_lambda
from pyscf.grad import ccsd_t
from pyscf.scf import cphf

from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.molecule import build_molecule, point_charges
from aiida_hqe.units import BOHR


def canonical_gradient(frame, method, frozen):
    """PySCF's own gradient on the QM atoms in the charges, hartree/bohr."""
    mf = qmmm.mm_charge(scf.RHF(build_molecule(frame, "sto-3g")), *point_charges(frame), unit="Bohr")
    mf.conv_tol, mf.conv_tol_grad = 1e-13, 1e-9
    mf.kernel()
    if method == "hf":
        return mf.nuc_grad_method().kernel()
    if method == "mp2":
        return mp.MP2(mf, frozen=frozen).run().nuc_grad_method().kernel()
    solver = cc.CCSD(mf, frozen=frozen)
    solver.conv_tol, solver.conv_tol_normt = 1e-12, 1e-9
    solver.kernel()
    if method == "ccsd":
        solver.solve_lambda()
        return solver.nuc_grad_method().kernel()
    _, l1, l2 = ccsd_t_lambda.kernel(solver, None, solver.t1, solver.t2, tol=1e-9, verbose=0)
    return ccsd_t.Gradients(solver).kernel(l1=l1, l2=l2)


@pytest.fixture
def refined_response(monkeypatch):
    """PySCF's own response equations stop at a residual of 1e-6: here they are solved again for what is left."""
    plain = cphf.solve

    def refined(fvind, energies, occupations, h1, **options):
        gap = energies[occupations == 0][:, None] - energies[occupations > 0]
        x, left = np.zeros_like(h1), h1
        while (size := np.abs(left).max()) > 1e-11:
            x = x + size * plain(fvind, energies, occupations, left / size, **options)[0]
            left = h1 + gap * x + fvind(x).reshape(h1.shape)
        return x, None

    monkeypatch.setattr(cphf, "solve", refined)


@pytest.mark.usefixtures("refined_response")
@pytest.mark.parametrize(
    ("method", "frozen_core"),
    [("hf", False), ("mp2", False), ("mp2", True), ("ccsd", False), ("ccsd(t)", False), ("ccsd(t)", True)],
)
def test_forces_of_a_core_of_everything_are_those_of_the_canonical_method(water, method, frozen_core):
    """Whatever the environment: its orbitals are all core, and every trace of the functional must cancel."""
    found = analytic(water, level_of("lda,vwn", method=method, frozen_core=frozen_core))
    expected = canonical_gradient(water, method, 1 if frozen_core else None)
    assert found[: water.n_qm] == pytest.approx(expected, abs=1e-8)


def test_forces_on_atoms_and_charges_balance_without_a_grid(dimer):
    """Neither a net force nor a net torque, with Hartree-Fock as low level and a correlated core."""
    gradient = analytic(dimer, level_of("hf", method="mp2", density_fit=True, frozen_core=True))
    assert np.abs(gradient.sum(axis=0)).max() < 1e-10
    everywhere = np.vstack([dimer.positions, dimer.mm_positions])
    assert np.abs(np.cross(everywhere, gradient).sum(axis=0)).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(("xc", "grid_level"), [("lda,vwn", 6), ("pbe", 7)])
def test_with_grid_response_forces_balance_and_torques_do_on_fine_grids(dimer, xc, grid_level):
    """Forces at any level; the angular grids keep their directions in space, so that torques fall with the level only."""
    environment = {"grid_response": True, "grid_level": grid_level}
    gradient = analytic(dimer, level_of(xc, environment=environment, method="mp2", density_fit=True))
    assert np.abs(gradient.sum(axis=0)).max() < 1e-12
    everywhere = np.vstack([dimer.positions, dimer.mm_positions]) / BOHR
    assert np.abs(np.cross(everywhere, gradient).sum(axis=0)).max() < 1e-7


def test_forces_turn_with_the_frame(dimer):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    level = level_of("hf", method="mp2")
    turned = dimer.replace(positions=dimer.positions @ turn, mm_positions=dimer.mm_positions @ turn)
    assert analytic(turned, level) == pytest.approx(analytic(dimer, level) @ turn, abs=1e-8)


def test_correlated_forces_are_not_those_of_the_environment(dimer):
    """A core in its own method has no multipliers at all: only another method tests them."""
    alike, other = (label(dimer, level_of("hf", method=method)) for method in ("hf", "mp2"))
    assert np.array(alike.forces) == pytest.approx(np.array(alike.environment_forces), abs=1e-6)
    assert np.abs(np.array(other.forces) - other.environment_forces).max() > 0.1


def test_a_frame_without_charges_has_forces_on_its_atoms_alone(dimer):
    frame = dimer.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[])
    found = label(frame, level_of("hf", method="mp2"))
    assert found.mm_forces == []
    assert np.abs(np.sum(found.forces, axis=0)).max() < 1e-8


def test_analytic_and_numerical_forces_of_a_label_agree(water):
    """Up to the error of the differences, which are made for small systems."""
    frame = water.replace(mm_numbers=[8], mm_positions=water.mm_positions[:1], mm_charges=[-0.6])
    analytic_label, numerical_label = (
        label(frame, level_of("hf", method="mp2", forces=kind), threads=1) for kind in ("analytic", "numerical")
    )
    assert analytic_label.energy == pytest.approx(numerical_label.energy, abs=1e-8)
    for name in ("forces", "mm_forces"):
        expected = np.array(getattr(numerical_label, name))
        assert np.array(getattr(analytic_label, name)) == pytest.approx(expected, abs=5e-4)
