import numpy as np
import pytest
from cheap_level import make_level
from pyscf import scf

from aiida_hqe.embedding import meanfield
from aiida_hqe.embedding.diis import SPACE, Extrapolation
from aiida_hqe.embedding.environment import solve_environment, with_orbitals
from aiida_hqe.embedding.partition import partition


def test_a_linear_error_vanishes_once_every_direction_is_known():
    rng = np.random.default_rng(1)
    A, solution = rng.normal(size=(SPACE - 1, SPACE - 1)), rng.normal(size=SPACE - 1)
    found = Extrapolation()
    for x in rng.normal(size=(SPACE, SPACE - 1)):
        extrapolated = found.update(x, A @ (x - solution))
    assert extrapolated == pytest.approx(solution, abs=1e-10)


def test_repeated_vectors_do_no_harm():
    found = Extrapolation()
    for _ in range(3):
        x = found.update(np.array([1.0, 2.0]), np.array([0.5, 0.0]))
    assert x == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("density_fit", [True, False])
def test_an_open_shell_core_converges_to_round_off(radical, density_fit):
    """Normal equations stop at about 5e-9 here."""
    level = make_level(environment={"basis": "6-31g", "density_fit": density_fit}, embedding={"core_orbitals": [5]})
    state = solve_environment(radical, level.environment)
    split = partition(state, [0, 1], "spade", 5)
    embedded = meanfield.embed(state, split, level.embedding, meanfield.HartreeFock(state, density_fit))
    for F, C, n in zip(embedded.fock, embedded.orbitals, split.n_core, strict=True):
        assert np.abs(C[:, :n].T @ F @ C[:, n:]).max() < meanfield.TOLERANCE


@pytest.mark.parametrize("fixture", ["dimer", "radical"])
def test_orbitals_given_with_a_density_make_it_up(fixture, request):
    state = solve_environment(request.getfixturevalue(fixture), make_level().environment)
    dm = with_orbitals(state.density)
    made = scf.uhf.make_rdm1(dm.mo_coeff, dm.mo_occ) if state.n_spin == 2 else scf.hf.make_rdm1(dm.mo_coeff, dm.mo_occ)
    assert np.abs(made - np.squeeze(state.density)).max() < 1e-12
    v, e = state.potential(state.density)
    assert np.abs(state.own_potential[0] - v).max() < 1e-8
    assert state.own_potential[1] == pytest.approx(e, abs=1e-9)


def test_a_density_with_negative_occupations_goes_without_orbitals(dimer):
    state = solve_environment(dimer, make_level().environment)
    assert not hasattr(with_orbitals(-state.density), "mo_coeff")
