"""Geometries far from equilibrium: orbital energies that cross, and states that are no minimum.

As young potentials sample them: two waters with every atom moved by 0.3 angstrom at random.
"""

import numpy as np
import pytest
from finite_differences import Followed, errors, level_of

from aiida_hqe.embedding import meanfield, scf
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.gradients import response, zvector
from aiida_hqe.embedding.label import label
from aiida_hqe.errors import ConvergenceError

CROSSED = 54
"""Seed of a minimum whose highest occupied orbital lies above the lowest virtual one."""

SADDLE = 26
"""Seed of a geometry where the second-order solver first stops at a saddle point."""

LEVEL = level_of(method="mp2", density_fit=True)


def wild(dimer, seed):
    noise = np.random.default_rng(seed).normal(size=(6, 3))
    return dimer.replace(positions=dimer.positions + 0.3 * noise)


@pytest.fixture
def second_order(monkeypatch):
    """That solver alone, and convergence as in production."""
    monkeypatch.setattr(scf, "RUNGS", {"second-order": scf.RUNGS["second-order"]})
    monkeypatch.setattr(scf, "ENERGY_TOLERANCE", 1e-9)
    monkeypatch.setattr(scf, "GRADIENT_TOLERANCE", 1e-6)
    monkeypatch.setattr(meanfield, "TOLERANCE", 1e-9)
    monkeypatch.setattr(zvector, "TOLERANCE", 1e-7)


def lowest_curvature(state):
    """Lowest eigenvalue of the orbital Hessian, hartree."""
    C_o, C_v, low = state.occupied(0), state.virtual(0), response.LowLevel(state)
    F = state.hcore + state.own_potential[0][0]
    e_o, e_v = (np.sum(C * (F @ C), axis=0) for C in (C_o, C_v))
    gap = e_v[:, None] - e_o
    units = np.eye(gap.size).reshape(gap.size, *gap.shape)
    pairs = [(4.0 * C_v @ unit, C_o) for unit in units]
    kernels = low.kernel([response.Request(C_o, pair, C_o) for pair in pairs])
    repelled = low.repelled(np.array([0.5 * (L @ R.T + R @ L.T) for L, R in pairs])) @ C_o
    columns = [gap * unit + C_v.T @ (k + r) for unit, k, r in zip(units, kernels, repelled, strict=True)]
    return np.linalg.eigvalsh(np.reshape(columns, (gap.size, gap.size)))[0], gap.min()


@pytest.mark.usefixtures("second_order")
def test_a_minimum_with_crossed_orbital_energies_has_forces(dimer):
    """Its z-vector equations are as well posed as any; only a preconditioner of orbital energies is not positive."""
    frame = wild(dimer, CROSSED)
    curvature, gap = lowest_curvature(solve_environment(frame, LEVEL.environment))
    assert curvature > 1e-3
    assert gap < -1e-2
    found = label(frame, LEVEL)
    assert found.message is None
    assert np.isfinite(found.forces).all()


@pytest.mark.slow
@pytest.mark.usefixtures("frozen_grid")
def test_forces_at_crossed_orbital_energies_are_the_derivative_of_the_energy(dimer, monkeypatch):
    followed = Followed()
    monkeypatch.setattr(scf, "RUNGS", {"followed": followed})
    assert errors(wild(dimer, CROSSED), LEVEL, h=1e-3) == pytest.approx(0.0, abs=1e-8)
    assert followed.gap() < -1e-2


@pytest.mark.usefixtures("second_order")
def test_the_second_order_solver_goes_on_from_a_saddle_point_to_a_minimum(dimer, monkeypatch):
    frame = wild(dimer, SADDLE)
    state = solve_environment(frame, LEVEL.environment)
    assert lowest_curvature(state)[0] > 0
    monkeypatch.setattr(scf, "_descend", lambda solver: None)
    saddle = solve_environment(frame, LEVEL.environment)
    assert lowest_curvature(saddle)[0] < -0.1
    assert state.energy < saddle.energy - 0.1


@pytest.mark.usefixtures("second_order")
def test_an_environment_that_no_descent_brings_to_a_minimum_has_not_converged(dimer, monkeypatch):
    monkeypatch.setattr(scf, "DESCENTS", 0)
    with pytest.raises(ConvergenceError, match="second-order"):
        solve_environment(wild(dimer, SADDLE), LEVEL.environment)


@pytest.mark.usefixtures("second_order")
def test_forces_at_a_saddle_point_are_refused_with_its_curvature(dimer, monkeypatch):
    """Of that frame only: its neighbour has forces."""
    monkeypatch.setattr(scf, "_descend", lambda solver: None)
    found, neighbour = (label(wild(dimer, seed), LEVEL) for seed in (SADDLE, CROSSED))
    assert (found.status, found.error_kind, found.forces) == ("failed", "convergence", None)
    for words in (
        found.frame[:12],
        "z-vector",
        "the environment",
        "residual",
        "saddle point",
        "curvature",
        "at most -",
    ):
        assert words in found.message
    assert neighbour.status == "ok"
