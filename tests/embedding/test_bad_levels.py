"""What cannot be computed answers with a typed, located error, and costs its own frame only."""

import importlib.util

import numpy as np
import pytest
from cheap_level import make_level

from aiida_hqe.embedding import correlation, localization, meanfield, scf
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Embedding
from aiida_hqe.embedding.partition import Partition
from aiida_hqe.errors import ConvergenceError, InputError


def refused(frame, level, kind, *words):
    """The failed label of a frame, after a check of its kind, and that its one-line message names the frame and `words`."""
    found = label(frame, level)
    assert (found.status, found.error_kind) == ("failed", kind)
    assert found.energy is None
    assert found.environment_energy is None
    for word in (frame.hash[:12], *words):
        assert word in found.message
    assert "\n" not in found.message
    return found


def test_a_core_without_orbitals_is_refused(dimer):
    refused(dimer, make_level(embedding={"core_orbitals": [0]}), "input", "1 to 10", "got 0")


def test_more_core_orbitals_than_occupied_ones_are_refused(dimer):
    refused(dimer, make_level(embedding={"core_orbitals": [11]}), "input", "1 to 10", "got 11")


def test_a_core_orbital_count_for_another_number_of_cores_is_refused(dimer):
    refused(dimer, make_level(embedding={"core_orbitals": [5, 5]}), "input", "1 cores")


def test_a_cut_through_degenerate_orbitals_is_refused(dimer):
    refused(dimer, make_level(embedding={"core_orbitals": [4]}), "input", "gap", "largest one, ", "is after 5")


def test_a_core_count_without_a_clear_gap_is_refused(water):
    refused(water.replace(core=[1, 0, 0]), make_level(embedding={"core_orbitals": [4]}), "input", "gap")


@pytest.mark.filterwarnings("ignore:Basis may be available:UserWarning")
def test_a_basis_that_lacks_an_element_is_refused(water):
    frame = water.replace(numbers=[86, 1, 1])
    refused(frame, make_level(environment={"basis": "6-31g"}), "input", "6-31g", "basis")


@pytest.mark.filterwarnings("ignore:Basis may be available:UserWarning")
def test_an_unknown_basis_is_refused(water):
    refused(water, make_level(environment={"basis": "no-such"}), "input", "no-such")


def test_more_electrons_than_the_basis_holds_are_refused(water):
    frame = water.replace(charge=-30)
    refused(
        frame, make_level(environment={"basis": "sto-3g"}), "input", "at least 20 functions", "40 electrons", "with 7"
    )


def test_a_linearly_dependent_basis_is_refused(water):
    positions = np.vstack([water.positions, [[0.4, 0.754, -0.459], [0.4, -0.754, -0.459]]])
    frame = water.replace(numbers=[8, 1, 1, 1, 1], positions=positions, core=[1] * 5)
    refused(frame, make_level(environment={"basis": "aug-cc-pvtz"}), "input", "dependent", "aug-cc-pvtz")


def test_a_point_charge_on_an_atom_is_refused(water):
    charges = water.mm_positions.copy()
    charges[2] = water.positions[0] + 0.01
    refused(water.replace(mm_positions=charges), make_level(), "input", "charge 2", "atom 0")


@pytest.mark.parametrize("xc", ["no-such", "", "pbe-d3bj"])
def test_an_unknown_functional_is_refused(water, xc):
    refused(water, make_level(environment={"xc": xc}), "input", "functional", repr(xc))


def test_target_forces_without_a_core_are_refused(water):
    refused(water.replace(core=[0, 0, 0]), make_level(forces="numerical"), "input", "core")


def test_a_core_that_would_be_frozen_whole_is_refused(water):
    state = solve_environment(water, make_level().environment)
    inner, outer = state.occupied(0)[:, :1], state.occupied(0)[:, 1:]
    split = Partition([inner], [outer], None, [0])
    embedded = meanfield.embed(state, split, Embedding(functional="static"), meanfield.HartreeFock(state, False))
    with pytest.raises(InputError, match="frozen_core would freeze all 1 orbitals"):
        correlation.full_space(embedded, frozen_core=True)


@pytest.mark.skipif(importlib.util.find_spec("pyscf.lno") is not None, reason="pyscf-forge is installed")
def test_local_coupled_cluster_without_its_package_says_what_to_install(water):
    level = make_level(core={"method": "lno-ccsd(t)", "density_fit": True}, embedding={"core_orbitals": [5]})
    refused(water, level, "resource", "pyscf-forge", "pip install")


@pytest.mark.parametrize(
    ("change", "core", "embedding", "word"),
    [
        ({}, {}, {}, "density_fit"),
        ({"charge": 1, "spin": 1}, {"density_fit": True}, {}, "closed shells"),
        ({}, {"density_fit": True}, {"functional": "static"}, "static"),
    ],
)
def test_local_coupled_cluster_refuses_what_it_cannot_do(water, change, core, embedding, word):
    refused(
        water.replace(**change), make_level(core={"method": "lno-ccsd(t)", **core}, embedding=embedding), "input", word
    )


@pytest.mark.skipif(importlib.util.find_spec("dftd3") is not None, reason="dftd3 is installed")
def test_dispersion_without_its_package_says_what_to_install(water):
    refused(water, make_level(environment={"dispersion": "d3bj"}), "resource", "pip install")


def test_scf_that_fails_on_every_rung_reports_its_residual(water, monkeypatch):
    monkeypatch.setattr(scf, "GRADIENT_TOLERANCE", 1e-30)
    monkeypatch.setattr(scf, "RUNGS", dict(list(scf.RUNGS.items())[:1]))
    with pytest.raises(ConvergenceError, match="orbital gradient") as caught:
        solve_environment(water, make_level().environment)
    assert 0.0 < caught.value.residual < 1e-5


@pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")
def test_scf_goes_up_the_ladder_and_records_the_rung(water, monkeypatch):
    def hopeless(mf):
        mf.max_cycle = 1
        return mf

    expected = label(water, make_level(embedding={"core_orbitals": [5]}))
    assert expected.scf_rung == "diis"
    for rung in ("diis", "damping", "second-order"):
        monkeypatch.setitem(scf.RUNGS, rung, hopeless)
        found = label(water, make_level(embedding={"core_orbitals": [5]}))
        assert found.scf_rung == list(scf.RUNGS)[list(scf.RUNGS).index(rung) + 1]
        assert found.environment_energy == pytest.approx(expected.environment_energy, abs=1e-6)
        assert found.environment_forces == pytest.approx(np.array(expected.environment_forces), abs=1e-4)


def test_an_embedded_mean_field_that_does_not_converge_reports_its_residual(dimer, monkeypatch):
    monkeypatch.setattr(meanfield, "MAX_CYCLES", 2)
    found = refused(dimer, make_level(embedding={"core_orbitals": [5]}), "convergence", "orbital gradient")
    assert found.status == "failed"


def test_a_localization_that_does_not_converge_is_an_error(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(3, 4, 4))
    monkeypatch.setattr(localization, "MAX_SWEEPS", 2)
    with pytest.raises(ConvergenceError, match="localization"):
        localization.jacobi(vectors @ vectors.transpose(0, 2, 1), exponent=2)


def test_a_functional_that_xcfun_lacks_is_refused(water):
    refused(water, make_level(environment={"xc": "wb97m_v", "xc_library": "xcfun"}), "input", "xcfun")


@pytest.mark.parametrize(
    ("raised", "kind", "word"),
    [(MemoryError(), "resource", "out of memory"), (np.linalg.LinAlgError("singular"), "convergence", "singular")],
)
def test_what_libraries_fail_with_is_an_error_of_that_frame(water, monkeypatch, raised, kind, word):
    def fail(*_):
        raise raised

    monkeypatch.setattr(correlation, "correlate", fail)
    refused(water, make_level(), kind, word)
