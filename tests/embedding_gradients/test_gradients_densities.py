"""Densities of coupled cluster against those of PySCF's plain code, which holds all triples and every block as a whole."""

import itertools

import numpy as np
import pytest
from finite_differences import analytic, level_of
from pyscf import cc, scf
from pyscf.cc import ccsd_rdm, ccsd_t_lambda_slow, ccsd_t_rdm_slow

from aiida_hqe.embedding.gradients import coupled_cluster, pair_density, streamed
from aiida_hqe.embedding.gradients.triples import Triples
from aiida_hqe.embedding.molecule import build_molecule


@pytest.fixture(scope="module")
def solved(water):
    """CCSD of water: solver, integrals, and amplitudes with something in place of multipliers."""
    mf = scf.RHF(build_molecule(water, "6-31g"))
    mf.conv_tol, mf.conv_tol_grad = 1e-13, 1e-9
    solver = cc.CCSD(mf.run(), frozen=1)
    eris = solver.ao2mo()
    solver.conv_tol = 1e-9
    solver.kernel(eris=eris)
    rng = np.random.default_rng(4)
    l2 = solver.t2 + 0.01 * rng.normal(size=solver.t2.shape)
    multipliers = (solver.t1 + 0.01 * rng.normal(size=solver.t1.shape), l2 + l2.transpose(1, 0, 3, 2))
    return solver, eris, (solver.t1, solver.t2, *multipliers)


def test_triples_in_one_pass_are_those_of_all_triples_at_once(solved):
    solver, eris, amplitudes = solved
    found = Triples(solver.t1, solver.t2, eris)
    with_multipliers = ccsd_t_lambda_slow.make_intermediates(solver, solver.t1, solver.t2, eris)
    assert found.l1 == pytest.approx(with_multipliers.l1_t, abs=1e-10)
    assert found.l2 == pytest.approx(with_multipliers.l2_t, abs=1e-10)
    assert np.abs(found.l2).max() > 1e-4
    with_one = ccsd_t_rdm_slow._gamma1_intermediates(solver, *amplitudes, eris, for_grad=True)
    one = ccsd_rdm._gamma1_intermediates(solver, *amplitudes)
    for expected, plain, change in zip(with_one, one, (found.doo, 0.0, found.dvo, found.dvv), strict=True):
        assert plain + change == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("with_triples", [False, True])
def test_blocks_of_the_two_particle_density_are_the_whole_with_the_symmetry_of_integrals(solved, with_triples):
    solver, eris, amplitudes = solved
    module = ccsd_t_rdm_slow if with_triples else ccsd_rdm
    d2 = module._gamma2_intermediates(solver, *amplitudes, *([eris] if with_triples else []))
    whole = ccsd_rdm._make_rdm2(solver, None, d2, with_dm1=False, with_frozen=False)
    symmetric = sum(
        whole.transpose(order)
        for p, q in itertools.product(((0, 1), (1, 0)), ((2, 3), (3, 2)))
        for order in ((*p, *q), (*q, *p))
    )
    triples = Triples(solver.t1, solver.t2, eris) if with_triples else None
    found = pair_density.pair_density(solver, amplitudes, triples)
    assert found.dense() == pytest.approx(symmetric / 8.0, abs=1e-10)


def test_fitted_integrals_meet_the_blocks_as_they_meet_the_whole(solved, monkeypatch):
    """However many rows of it are read at a time."""
    solver, _, amplitudes = solved
    blocks = pair_density.pair_density(solver, amplitudes, None)
    B = np.random.default_rng(5).normal(size=(7, solver.nmo, solver.nmo))
    B = B + B.transpose(0, 2, 1)
    expected = np.einsum("pqrs,Prs->Ppq", blocks.dense(), B)
    for size in (2e7, 200):
        monkeypatch.setattr(pair_density, "BLOCK", size)
        assert blocks.fitted(B) == pytest.approx(expected, abs=1e-10)


def test_forces_with_the_two_particle_density_on_disk_are_those_with_it_in_memory(dimer, monkeypatch):
    level = level_of("hf", method="ccsd(t)", frozen_core=True)
    expected = analytic(dimer, level)
    monkeypatch.setattr(coupled_cluster, "DENSE", 0)
    monkeypatch.setattr(streamed, "BLOCK", 5000)
    assert analytic(dimer, level) == pytest.approx(expected, abs=1e-9)
