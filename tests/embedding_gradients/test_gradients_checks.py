"""Identities inside the derivation, and traps that an energy does not show."""

import numpy as np
import pytest
from finite_differences import level_of

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.gradients import relaxation, zvector
from aiida_hqe.embedding.gradients.coupled_cluster import coupled_cluster_density
from aiida_hqe.embedding.gradients.density import hartree_fock_density, mp2_density, repulsion_of
from aiida_hqe.embedding.gradients.partition_response import Weight
from aiida_hqe.embedding.gradients.response import high_level, low_level
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.embedding.partition import partition
from aiida_hqe.errors import ConvergenceError


class Solved:
    """One core of a frame with its densities, step by step."""

    def __init__(self, frame, level):
        self.state = solve_environment(frame, level.environment)
        self.high = meanfield.HartreeFock(self.state, level.core.density_fit)
        self.split = partition(self.state, core_atoms(frame, 1), "spade", level.embedding.core_orbitals[0])
        self.embedded = meanfield.embed(self.state, self.split, level.embedding, self.high)
        self.correlated = correlation.correlate(self.embedded, self.high, level.core)
        self.repulsion = repulsion_of(self.high.mf)
        density = hartree_fock_density(self.embedded, level.core.frozen_core)
        if level.core.method == "mp2":
            density = mp2_density(density, self.repulsion)
        elif level.core.method != "hf":
            triples = level.core.method == "ccsd(t)"
            density = coupled_cluster_density(density, self.repulsion, self.correlated.amplitudes, triples=triples)
        self.density, self.fock = density, self.embedded.fock[0]

    def relaxed(self):
        return relaxation.relax(self.density, self.fock, high_level(self.high), self.repulsion)


CORRELATED = [
    ({"method": "mp2", "frozen_core": True}, 1e-10),
    ({"method": "mp2", "density_fit": True}, 1e-10),
    ({"method": "ccsd"}, 1e-8),
    ({"method": "ccsd(t)", "frozen_core": True}, 1e-8),
    ({"method": "ccsd(t)", "density_fit": True}, 1e-8),
]
"""Methods, and how well their amplitudes are converged."""


@pytest.mark.parametrize(("core", "tolerance"), CORRELATED)
def test_densities_give_the_energy_they_belong_to(dimer, core, tolerance):
    """``tr F gamma`` and the two-particle energy add up to the correlation energy."""
    solved = Solved(dimer, level_of("hf", **core))
    C, gamma = solved.density.orbitals, solved.density.gamma
    found = np.sum(solved.fock * (C @ gamma @ C.T)) + solved.repulsion.contract(solved.density.two)[0]
    expected = solved.correlated.correlation + solved.correlated.triples
    assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("core", "tolerance"), CORRELATED)
def test_the_relaxed_generalised_fock_matrix_is_symmetric(dimer, core, tolerance):
    """Without the off-diagonal blocks of the triples' density it would be off by 1e-5."""
    solved = Solved(dimer, level_of("hf", **core))
    moment = solved.density.orbitals.T @ solved.relaxed().I
    assert np.abs(moment - moment.T).max() < max(1e-8, 10 * tolerance)


def test_correlation_leaves_the_number_of_electrons_as_it_is(dimer):
    solved = Solved(dimer, level_of("hf", method="ccsd(t)", frozen_core=True))
    relaxed = solved.relaxed()
    assert np.sum(relaxed.gamma * solved.state.overlap) == pytest.approx(0.0, abs=1e-9)
    assert np.sum(relaxed.density * solved.state.overlap) == pytest.approx(10.0, abs=1e-9)


def test_responses_are_the_derivative_of_potentials(dimer):
    """For rotations of the orbitals: also of the core's, whose density is not the environment's own."""
    solved = Solved(dimer, level_of("lda,vwn"))
    C_v, h = solved.state.virtual(0), 1e-3
    for C in (solved.split.core[0], solved.state.occupied(0)):
        D, X = 2.0 * C @ C.T, 0.1 * C_v @ np.random.default_rng(5).normal(size=(C_v.shape[1], C.shape[1])) @ C.T
        X = X + X.T
        ends = [solved.state.potential((D + sign * h * X)[None])[0][0] for sign in (1, -1)]
        assert low_level(solved.state, C)(X) == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-5)


def test_the_derivative_of_the_overlap_root_is_that_of_its_trace(dimer):
    solved = Solved(dimer, level_of("hf"))
    weight, rng = Weight(solved.state, solved.split), np.random.default_rng(7)
    N, step = rng.normal(size=(2, 14, 14))
    N, step, h = N + N.T, 0.01 * (step + step.T), 1e-4
    state = solved.state

    class Shifted:
        mol = state.mol

        def __init__(self, sign):
            self.overlap = state.overlap + sign * h * step

    ends = [np.sum(N * Weight(Shifted(sign), solved.split).matrix) for sign in (1, -1)]
    assert np.sum(weight.root_derivative(N) * step) == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-6)


def test_z_vector_solves_its_equations_and_says_where_it_stopped(monkeypatch):
    rng = np.random.default_rng(11)
    M = rng.normal(size=(12, 12))
    A, b = 0.02 * M @ M.T, rng.normal(size=(4, 3))
    energies = (np.array([-1.0, -0.8, -0.5]), np.array([0.1, 0.4, 0.9, 2.0]))

    def coupling(z):
        return (A @ z.ravel()).reshape(z.shape)

    z = zvector.solve(energies, coupling, b, "a model")
    gap = energies[1][:, None] - energies[0]
    assert gap * z + coupling(z) == pytest.approx(b, abs=1e-9)
    monkeypatch.setattr(zvector, "MAX_CYCLES", 2)
    with pytest.raises(ConvergenceError, match="a model") as caught:
        zvector.solve(energies, coupling, b, "a model")
    assert caught.value.residual > 1e-9


def test_a_mean_field_that_is_no_minimum_has_no_z_vector():
    energies = (np.array([-0.5]), np.array([0.5]))
    with pytest.raises(ConvergenceError, match="no minimum"):
        zvector.solve(energies, lambda z: -3.0 * z, np.ones((1, 1)), "a model")
