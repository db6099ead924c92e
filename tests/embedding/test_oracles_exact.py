"""Exact limits, each for every partition, in charges and without, closed and open shell, one and three cores.

Where a core gets the method of its environment, or is the whole region, the answer is known without this program.
"""

import functools
import importlib.util
import itertools

import numpy as np
import pytest
from cheap_level import make_level
from pyscf import cc, dft, mp, qmmm, scf
from waters import WATER

from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels, label
from aiida_hqe.embedding.meanfield import HartreeFock, embed
from aiida_hqe.embedding.molecule import build_molecule, core_atoms, point_charges
from aiida_hqe.embedding.partition import partition
from aiida_hqe.units import HARTREE

SCHEMES = ("spade", "ibo", "pipek-mezey")
FUNCTIONALS = ("pbe", "pbe0", "camb3lyp")


@functools.cache
def environment_of(frame, xc):
    """Environment of a frame, converged once for all partitions."""
    return solve_environment(frame, make_level(environment={"xc": xc}).environment)


def added_by_dft_in_dft(state, frame, embedding, core, count):
    """What embedding the environment's own functional adds, from a density that is far from the answer (hartree)."""
    split = partition(state, core_atoms(frame, core), embedding.scheme, count)
    rng = np.random.default_rng(1)
    guess = []
    for spin, C in enumerate(split.core):
        mixed = C + 0.1 * state.virtual(spin) @ rng.normal(size=(state.virtual(spin).shape[1], C.shape[1]))
        guess.append(mixed @ np.linalg.inv(np.linalg.cholesky(mixed.T @ state.overlap @ mixed)).T)
    return embed(state, split, embedding, state.potential, state.density_of(guess)).energy


def without_charges(frame):
    nothing = np.zeros((0, 3))
    return frame.replace(mm_numbers=[], mm_positions=nothing, mm_charges=[])


@pytest.fixture(scope="session")
def trimer(dimer):
    """A chain of three waters in four point charges, each of them a core."""
    third = np.add(WATER, [0.0, -3.0, 0.4])
    return dimer.replace(
        numbers=[8, 1, 1] * 3,
        positions=np.vstack([dimer.positions, third]),
        core=np.repeat([1, 2, 3], 3),
        mm_positions=np.add(dimer.mm_positions, [0.0, 0.0, 3.0]),
    )


@pytest.fixture(scope="session")
def radical_in_charges(radical, dimer):
    return radical.replace(mm_numbers=dimer.mm_numbers, mm_positions=dimer.mm_positions, mm_charges=dimer.mm_charges)


@pytest.fixture(scope="session")
def regions(dimer, methanol, radical, radical_in_charges):
    return {
        "water dimer in charges": dimer,
        "methanol cut through C-O": methanol,
        "radical and water": radical,
        "radical and water in charges": radical_in_charges,
    }


def cases():
    names = ("water dimer in charges", "methanol cut through C-O", "radical and water", "radical and water in charges")
    for name, xc, scheme in itertools.product(names, FUNCTIONALS, SCHEMES):
        yield pytest.param(name, xc, scheme, id=f"{name}, {xc}, {scheme}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "xc", "scheme"), cases())
def test_dft_in_dft_is_the_supersystem_for_every_partition(regions, name, xc, scheme):
    frame = regions[name]
    embedding = make_level(embedding={"partition": scheme}).embedding
    assert abs(added_by_dft_in_dft(environment_of(frame, xc), frame, embedding, 1, 5)) < 1e-9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_three_cores_of_the_same_functional_add_nothing(trimer, scheme):
    embedding = make_level(embedding={"partition": scheme}).embedding
    state = environment_of(trimer, "pbe")
    added = [added_by_dft_in_dft(state, trimer, embedding, core, 5) for core in (1, 2, 3)]
    assert np.abs(added).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("xc", FUNCTIONALS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_three_cores_add_nothing_for_every_functional_without_charges(trimer, xc, scheme):
    frame = without_charges(trimer)
    embedding = make_level(embedding={"partition": scheme}).embedding
    added = [added_by_dft_in_dft(environment_of(frame, xc), frame, embedding, core, 5) for core in (1, 2, 3)]
    assert np.abs(added).max() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("xc", ["pbe", "pbe0"])
def test_three_cores_of_an_open_shell_region_add_nothing(trimer, xc):
    """A methyl radical between two waters: a poor acceptor, so that PBE has one solution only and no charge transfer."""
    methyl = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.08], [0.935, 0.0, -0.54], [-0.935, 0.0, -0.54]]
    frame = trimer.replace(
        numbers=[6, 1, 1, 1, 8, 1, 1, 8, 1, 1],
        positions=np.vstack([methyl, trimer.positions[3:]]),
        core=[1, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        spin=1,
    )
    embedding = make_level().embedding
    added = [added_by_dft_in_dft(environment_of(frame, xc), frame, embedding, core, 5) for core in (1, 2, 3)]
    assert np.abs(added).max() < 1e-9


@pytest.mark.parametrize("scheme", ["spade-by-shell", "ibo", "pipek-mezey"])
def test_unrelaxed_cores_do_not_mix_inner_shells_and_valence_orbitals(methanol, scheme):
    """Two of the occupied orbitals are inner shells; the core's 1s orbital lies in their space, its others outside."""
    embedding = make_level(embedding={"functional": "static", "partition": scheme.removesuffix("-by-shell")}).embedding
    assert embedding.scheme == scheme
    state = environment_of(methanol, "pbe")
    split = partition(state, core_atoms(methanol, 1), embedding.scheme, 5)
    inner = state.occupied(0)[:, :2]
    weights = np.sum((inner.T @ state.overlap @ split.core[0]) ** 2, axis=0)
    assert sorted(weights) == pytest.approx([0, 0, 0, 0, 1], abs=1e-9)


def test_a_static_core_of_everything_has_the_correlation_of_kohn_sham_orbitals(water):
    """PySCF's CCSD and MP2 on the same Kohn-Sham orbitals, Hartree-Fock Fock matrix and all its singles."""
    state = environment_of(water, "pbe")
    mf = qmmm.mm_charge(scf.RHF(state.mol), *point_charges(water), unit="Bohr")
    mf.mo_coeff, mf.mo_occ = state.mf.mo_coeff, state.mf.mo_occ
    solver = cc.CCSD(mf)
    solver.conv_tol, solver.conv_tol_normt = 1e-11, 1e-9
    solver.kernel()
    reference = solver.e_hf + solver.e_corr
    level = make_level(core={"method": "ccsd"}, embedding={"functional": "static", "core_orbitals": [5]})
    (core,) = core_labels(water, level, state)
    assert state.energy + core.energy / HARTREE == pytest.approx(reference, abs=1e-8)


@functools.cache
def canonical(frame, method, density_fit=False):
    """PySCF's own energy of the whole region in its charges (hartree)."""
    mol = build_molecule(frame, "6-31g")
    mf = scf.RHF(mol) if frame.spin == 0 else scf.UHF(mol)
    mf = mf.density_fit() if density_fit else mf
    if len(frame.mm_charges):
        mf = qmmm.mm_charge(mf, *point_charges(frame), unit="Bohr")
    mf.conv_tol, mf.conv_tol_grad = 1e-12, 1e-8
    energy = mf.kernel()
    if method == "hf":
        return energy
    if method == "mp2":
        return energy + mp.MP2(mf).kernel()[0]
    solver = cc.CCSD(mf)
    solver.conv_tol, solver.conv_tol_normt = 1e-11, 1e-9
    solver.kernel()
    return energy + solver.e_corr + (solver.ccsd_t() if method == "ccsd(t)" else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hf", "mp2", "ccsd", "ccsd(t)"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("projector", ["huzinaga", "fermi-huzinaga", {"level_shift": 1e6}], ids=str)
def test_a_core_of_a_whole_dimer_is_the_canonical_method(dimer, method, scheme, projector):
    frame = dimer.replace(core=[1] * 6)
    level = make_level(
        environment={"basis": "6-31g"},
        core={"method": method},
        embedding={"partition": scheme, "projector": projector, "core_orbitals": [10]},
    )
    assert label(frame, level).energy / HARTREE == pytest.approx(canonical(frame, method), abs=1e-8)


@pytest.mark.skipif(importlib.util.find_spec("pyscf.lno") is None, reason="needs the extra 'lno'")
def test_untruncated_local_coupled_cluster_of_everything_is_canonical(water):
    level = make_level(
        environment={"basis": "6-31g"},
        core={"method": "lno-ccsd(t)", "density_fit": True, "lno_threshold": 0.0},
        embedding={"core_orbitals": [5]},
    )
    found = label(water, level)
    assert found.message is None
    assert found.energy / HARTREE == pytest.approx(canonical(water, "ccsd(t)", density_fit=True), abs=1e-6)


def test_static_and_relaxed_energies_of_the_environments_functional_agree(methanol):
    """Kohn-Sham orbitals are stationary for their own functional: unrelaxed, they add nothing either."""
    for functional in ("static", "nonlinear", "linear"):
        embedding = make_level(embedding={"functional": functional}).embedding
        state = environment_of(methanol, "pbe")
        split = partition(state, core_atoms(methanol, 1), embedding.scheme, 5)
        assert abs(embed(state, split, embedding, state.potential).energy) < 1e-9


def test_hartree_fock_in_hartree_fock_adds_nothing(dimer):
    """The low level `hf` is a functional like any other, and the core's own integrals must agree with it."""
    state = environment_of(dimer, "hf")
    assert isinstance(state.mf, dft.rks.RKS)
    embedding = make_level().embedding
    split = partition(state, core_atoms(dimer, 1), embedding.scheme, 5)
    assert abs(embed(state, split, embedding, HartreeFock(state, False)).energy) < 1e-9
