"""Identities inside the derivation, and traps that an energy does not show."""

import numpy as np
import pytest
from finite_differences import level_of

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.gradients import exact, relaxation, zvector
from aiida_hqe.embedding.gradients.coupled_cluster import coupled_cluster_density
from aiida_hqe.embedding.gradients.density import hartree_fock_density, mp2_density, repulsion_of
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.partition_response import Weight
from aiida_hqe.embedding.gradients.response import LowLevel, Request, high_level
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
        G = high_level(self.high, self.repulsion, self.density.occupied)
        return relaxation.relax(self.density, self.fock, G, self.repulsion)


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


def rotation(solved, C):
    """A change of a density by a rotation of its orbitals C with virtual ones: factors, and the matrix."""
    C_v = solved.state.virtual(0)
    L = 0.2 * C_v @ np.random.default_rng(5).normal(size=(C_v.shape[1], C.shape[1]))
    return L, 0.5 * (L @ C.T + C @ L.T)


def test_responses_are_the_derivative_of_potentials(dimer):
    """Also at the core's density, which is not the environment's own."""
    solved = Solved(dimer, level_of("lda,vwn"))
    low, C_v, h = LowLevel(solved.state), solved.state.virtual(0), 1e-3
    for C in (solved.split.core[0], solved.state.occupied(0)):
        D, (_, X) = 2.0 * C @ C.T, rotation(solved, C)
        ends = [solved.state.potential((D + sign * h * X)[None])[0][0] for sign in (1, -1)]
        found = low.kernel([Request(C, X, C_v)])[0] + low.repelled(X) @ C_v
        assert found == pytest.approx((ends[0] - ends[1]) @ C_v / (2 * h), abs=1e-5)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("xc", ["lda,vwn", "pbe0", "tpss", "camb3lyp", "0.25*SR_HF(0.2)+LDA,VWN"])
def test_responses_are_those_of_pyscf(dimer, xc, fitted):
    """From the density matrix and from its factors."""
    solved = Solved(dimer, level_of(xc, environment={"density_fit": fitted}))
    low, C_v = LowLevel(solved.state), solved.state.virtual(0)
    for C in (solved.split.core[0], solved.state.occupied(0)):
        L, X = rotation(solved, C)
        occupations = np.full(C.shape[1], 2.0)
        expected = solved.state.mf.gen_response(mo_coeff=C, mo_occ=occupations, singlet=None, hermi=1)(X) @ C_v
        for change in (X, (L, C)):
            found = low.kernel([Request(C, change, C_v)])[0] + low.repelled(X) @ C_v
            assert found == pytest.approx(expected, abs=1e-8)


def test_the_response_of_fitted_integrals_is_that_of_the_mean_field(dimer):
    solved = Solved(dimer, level_of("hf", method="mp2", density_fit=True))
    C, X = solved.density.occupied, np.random.default_rng(6).normal(size=(14, 14))
    J, K = solved.high.mf.get_jk(solved.high.mf.mol, X + X.T, hermi=1)
    found = high_level(solved.high, solved.repulsion, C)(X + X.T)
    assert found == pytest.approx((J - 0.5 * K) @ C, abs=1e-9)


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


def model(coupling, energies, **options):
    return zvector.Equations(energies, np.eye(len(energies[1])), coupling, "a model", **options)


@pytest.mark.parametrize("error", [None, 0.0, 0.1])
def test_z_vector_solves_its_equations_and_says_where_it_stopped(monkeypatch, error):
    """With a rough response as preconditioner too; where it is the true one, one step is enough."""
    rng = np.random.default_rng(11)
    M, noise = rng.normal(size=(2, 12, 12))
    A, b = 0.02 * M @ M.T, rng.normal(size=(4, 3))
    energies, calls = (np.array([-1.0, -0.8, -0.5]), np.array([0.1, 0.4, 0.9, 2.0])), []

    def coupling(z):
        calls.append(z)
        return (A @ z.ravel()).reshape(z.shape)

    def rough(z):
        return ((A + 0.01 * error * noise @ noise.T) @ z.ravel()).reshape(z.shape)

    equations = model(coupling, energies, rough=None if error is None else rough)
    solved = zvector.solve(equations, b)
    gap = energies[1][:, None] - energies[0]
    assert len(calls) <= {None: 13, 0.0: 4, 0.1: 8}[error]
    assert gap * solved.z + coupling(solved.z) == pytest.approx(b, abs=1e-9)
    assert solved.response == pytest.approx(coupling(solved.z), abs=1e-12)
    monkeypatch.setattr(zvector, "MAX_CYCLES", 1)
    with pytest.raises(ConvergenceError, match="a model") as caught:
        zvector.solve(model(coupling, energies), b)
    assert caught.value.residual > 1e-9


@pytest.mark.parametrize("noise", [None, 0.0, 0.05])
def test_z_vector_equations_of_crossed_orbital_energies_are_solved(noise):
    """Positive with the response, whatever the sign of the differences; a rough response need not even be positive."""
    rng = np.random.default_rng(13)
    energies = (np.array([-0.9, -0.4, 0.1]), np.array([0.05, 0.3, 0.31, 1.2]))
    gap = energies[1][:, None] - energies[0]
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    A = (basis * np.geomspace(0.02, 2.0, 12)) @ basis.T - np.diag(gap.ravel())
    R, b = A - (noise or 0.0) * np.eye(12), rng.normal(size=(4, 3))
    assert gap.min() < 0
    assert noise != 0.05 or np.linalg.eigvalsh(R + np.diag(gap.ravel()))[0] < 0
    rough = None if noise is None else lambda z: (R @ z.ravel()).reshape(z.shape)
    solved = zvector.solve(model(lambda z: (A @ z.ravel()).reshape(z.shape), energies, rough=rough), b)
    assert gap.ravel() * solved.z.ravel() + A @ solved.z.ravel() == pytest.approx(b.ravel(), abs=1e-9)


def test_a_mean_field_that_is_a_saddle_point_has_no_z_vector():
    with pytest.raises(ConvergenceError, match=r"saddle point \(curvature of the energy at most -2\.0e\+00 hartree"):
        zvector.solve(model(lambda z: -3.0 * z, (np.array([-0.5]), np.array([0.5]))), np.ones((1, 1)))


@pytest.mark.parametrize("core", [{"method": "mp2"}, {"method": "ccsd"}])
def test_integrals_made_again_row_by_row_are_those_in_memory(dimer, monkeypatch, core):
    solved = Solved(dimer, level_of("hf", **core))
    kept = Exact(solved.state.mol, solved.repulsion._integrals).contract(solved.density.two)
    monkeypatch.setattr(exact, "KEPT", 0)
    for found, expected in zip(Exact(solved.state.mol).contract(solved.density.two), kept, strict=True):
        assert found == pytest.approx(expected, abs=1e-10)
