import numpy as np
import pytest
from cheap_level import make_level
from pyscf.cc import dfccsd

from aiida_hqe.embedding import correlation, integrals, meanfield
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.partition import partition


@pytest.fixture(scope="module")
def embedded(dimer):
    """A relaxed water molecule next to another one, and its density-fitted mean field."""
    level = make_level(environment={"basis": "6-31g"})
    state = solve_environment(dimer, level.environment)
    split, high = partition(state, [0, 1, 2], "spade", 5), meanfield.HartreeFock(state, True)
    return meanfield.embed(state, split, level.embedding, high), high


def solver_of(embedded, frozen_core):
    found, high = embedded
    space = correlation.full_space(found, frozen_core)
    mf = correlation.mean_field(found, high, space)
    return dfccsd.RCCSD(mf, frozen=space.frozen[0].shape[1] or None)


def test_integrals_in_memory_are_those_that_are_streamed(embedded):
    solver = solver_of(embedded, frozen_core=True)
    ours, streamed = integrals.in_core(solver), solver.ao2mo()
    for name in ("oooo", "ovoo", "ovov", "ovvo", "oovv", "ovvv"):
        assert np.abs(getattr(ours, name) - np.asarray(getattr(streamed, name))).max() < 1e-12, name
    L = np.asarray(streamed.vvL)
    assert np.abs(ours.vvvv - L @ L.T).max() < 1e-12


@pytest.mark.parametrize("frozen_core", [False, True])
def test_ccsd_t_is_the_same_in_memory_and_streamed(embedded, frozen_core, monkeypatch):
    energies = []
    for limit in (integrals.LIMIT, 0.0):
        monkeypatch.setattr(integrals, "LIMIT", limit)
        settings = make_level(core={"method": "ccsd(t)", "density_fit": True, "frozen_core": frozen_core}).core
        found = correlation.correlate(*embedded, settings)
        energies.append((found.correlation, found.triples))
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)
    assert energies[0][1] < -1e-5


def test_size_counts_what_is_kept(embedded):
    solver = solver_of(embedded, frozen_core=False)
    eris = integrals.in_core(solver)
    kept = sum(getattr(eris, name).nbytes for name in ("ovvv", "vvvv"))
    n, n_v = solver.nocc, solver.nmo - solver.nocc
    assert integrals.size(0, n, n_v) == kept
    assert integrals.size(solver.with_df.get_naoaux(), n, n_v) > kept
