"""What a label says about its cores: parts that add up, additivity, truncated virtuals, the choice of cores."""

import functools
import importlib.util
import json

import numpy as np
import pytest
from cheap_level import make_level
from conftest import WATER

from aiida_hqe.embedding.cores import choose_core_orbitals, merged_core_error
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels, label
from aiida_hqe.embedding.localization import intrinsic_bond, localize
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame
from aiida_hqe.labels import Label
from aiida_hqe.units import HARTREE


def test_the_parts_of_an_energy_add_up_in_json(dimer):
    level = make_level(core={"method": "ccsd(t)"}, embedding={"core_orbitals": [5, 5]})
    found = json.loads(label(dimer.replace(core=[1, 1, 1, 2, 2, 2]), level).model_dump_json())
    parts = ("mean_field_energy", "correlation_energy", "triples_energy")
    total = found["environment_energy"] + sum(core[part] for core in found["cores"] for part in parts)
    assert total == pytest.approx(found["energy"], abs=1e-9)
    assert all(core[part] != 0.0 for core in found["cores"] for part in parts)
    assert len(repr(found["energy"])) >= 12


def test_a_label_survives_its_json(dimer):
    found = label(dimer, make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5]}))
    assert Label.model_validate_json(found.model_dump_json()) == found


def test_cores_of_a_pair_are_each_what_they_are_alone(dimer):
    level = make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5, 5]})
    both = label(dimer.replace(core=[1, 1, 1, 2, 2, 2]), level)
    single = make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5]})
    alone = [label(dimer.replace(core=core), single) for core in ([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1])]
    for core, other in zip(both.cores, alone, strict=True):
        assert core.energy == pytest.approx(other.cores[0].energy, abs=1e-8)
    added = sum(each.energy - each.environment_energy for each in alone)
    assert both.energy == pytest.approx(both.environment_energy + added, abs=1e-8)


def test_cores_far_apart_are_exact(water):
    """Two molecules far apart: separate cores and one merged core give the same energy."""
    far = np.vstack([WATER, np.add(WATER, [0.0, 0.0, 30.0])])
    frame = Frame(numbers=[8, 1, 1] * 2, positions=far, charge=0, spin=0, core=[1, 1, 1, 2, 2, 2])
    level = make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5, 5]})
    assert abs(merged_core_error(frame, level)) / HARTREE < 1e-6


def test_merged_core_error_of_neighbours_is_their_missing_correlation(dimer):
    frame = dimer.replace(core=[1, 1, 1, 2, 2, 2])
    error = merged_core_error(frame, make_level(core={"method": "mp2"}, embedding={"core_orbitals": [5, 5]}))
    assert 1e-5 < abs(error) / HARTREE < 1e-2


def test_merging_one_core_is_refused(dimer):
    with pytest.raises(InputError, match="two or more cores"):
        merged_core_error(dimer, make_level())


def test_a_frame_without_a_core_has_its_environment_alone(dimer):
    found = label(dimer.replace(core=[0] * 6), make_level(embedding={"core_orbitals": [5]}))
    assert found.status == "ok"
    assert found.energy is None
    assert found.cores == []


def test_existing_labels_of_a_frame_do_not_matter(dimer):
    level = make_level(embedding={"core_orbitals": [5]})
    found = label(dimer, level)
    again = label(found.apply(dimer), level)
    assert again.energy == pytest.approx(found.energy, abs=1e-9)
    assert again.frame == found.frame


def test_a_clear_gap_chooses_the_core(dimer, methanol):
    assert label(dimer, make_level()).cores[0].orbitals == 5
    assert label(methanol, make_level()).cores[0].orbitals == 5


def test_core_orbitals_are_chosen_once_for_all_frames(methanol):
    rng = np.random.default_rng(2)
    frames = [methanol.replace(positions=methanol.positions + 0.03 * rng.normal(size=(6, 3))) for _ in range(3)]
    for scheme in ("spade", "ibo", "pipek-mezey"):
        assert choose_core_orbitals(frames, make_level(embedding={"partition": scheme})) == [5]
    assert choose_core_orbitals([methanol.replace(core=[1] * 6)], make_level()) == [9]


def test_core_orbitals_of_different_molecules_are_refused(methanol, water):
    with pytest.raises(InputError, match="same cores"):
        choose_core_orbitals([methanol, water], make_level())
    with pytest.raises(InputError, match="frames with quantum cores"):
        choose_core_orbitals([], make_level())


def test_localized_orbitals_are_orthonormal_and_span_the_occupied_space(methanol):
    state = solve_environment(methanol, make_level().environment)
    sigma, U = intrinsic_bond(state, [1, 5], 0)
    assert np.abs(U.T @ U - np.eye(9)).max() < 1e-12
    assert np.all(np.diff(sigma) <= 0.0)
    turned = localize(state, state.occupied(0))
    assert 2.0 * turned @ turned.T == pytest.approx(state.density[0], abs=1e-10)


@functools.cache
def environment_of(frame):
    """Environment in 6-31G, converged once for all levels of the core."""
    return solve_environment(frame, make_level(environment={"basis": "6-31g"}).environment)


def core_of(frame, **core):
    """The core of a frame at a level of the core, in one environment."""
    (found,) = core_labels(frame, make_level(core=core, embedding={"core_orbitals": [5]}), environment_of(frame))
    return found


def truncated(frame, virtuals, method="mp2"):
    return core_of(frame, method=method, virtuals=virtuals)


def test_shells_of_virtuals_converge_to_the_full_space(dimer):
    full = truncated(dimer, "full")
    found = [truncated(dimer, {"shells": n}) for n in (1, 2, 20)]
    assert full.mp2_correction is None
    assert found[0].virtuals < found[1].virtuals <= found[2].virtuals == full.virtuals
    errors = [abs(core.correlation_energy - full.correlation_energy) for core in found]
    assert errors[0] > errors[1] >= errors[2]
    assert errors[2] < 1e-7


def test_mp2_correction_is_what_truncation_leaves_out(dimer):
    full, first = truncated(dimer, "full"), truncated(dimer, {"shells": 1})
    assert first.correlation_energy + first.mp2_correction == pytest.approx(full.correlation_energy, abs=1e-8)
    exact, cut = (truncated(dimer, virtuals, "ccsd(t)") for virtuals in ("full", {"shells": 1}))
    error = exact.correlation_energy + exact.triples_energy - cut.correlation_energy - cut.triples_energy
    assert abs(error - cut.mp2_correction) < 0.3 * abs(error)


def test_a_threshold_adds_shells_until_they_matter_no_more(dimer):
    tight, loose = truncated(dimer, {"threshold": "1e-9 eV"}), truncated(dimer, {"threshold": "10 eV"})
    assert loose.virtuals == truncated(dimer, {"shells": 1}).virtuals
    assert tight.virtuals > loose.virtuals
    assert abs(tight.mp2_correction) < 1e-6 < abs(loose.mp2_correction)


def test_an_open_shell_core_can_be_truncated(radical):
    full, cut = truncated(radical, "full", "ccsd(t)"), truncated(radical, {"shells": 1}, "ccsd(t)")
    assert cut.virtuals < full.virtuals
    assert full.correlation_energy < cut.correlation_energy < 0.0


def test_density_fitting_changes_a_core_by_less_than_a_tenth_of_a_millihartree(dimer):
    exact, fitted = (core_of(dimer, method="ccsd(t)", density_fit=choice) for choice in (False, True))
    assert fitted.energy != exact.energy
    assert fitted.energy / HARTREE == pytest.approx(exact.energy / HARTREE, abs=1e-4)


def test_xcfun_and_libxc_agree_on_a_functional_to_their_known_difference(dimer):
    energies = [
        solve_environment(dimer, make_level(environment={"xc_library": name}).environment).energy
        for name in ("libxc", "xcfun")
    ]
    assert energies[1] != energies[0]
    assert energies[1] == pytest.approx(energies[0], abs=3e-5)


@pytest.mark.skipif(importlib.util.find_spec("pyscf.lno") is None, reason="needs the extra 'lno'")
def test_untruncated_local_coupled_cluster_is_canonical(dimer):
    def core(method, **more):
        return core_of(dimer, method=method, density_fit=True, frozen_core=True, **more)

    canonical, local, cut = (
        core("ccsd(t)"),
        core("lno-ccsd(t)", lno_threshold=0.0),
        core("lno-ccsd(t)", lno_threshold=1e-4),
    )
    assert local.correlation_energy / HARTREE == pytest.approx(canonical.correlation_energy / HARTREE, abs=1e-6)
    assert local.triples_energy / HARTREE == pytest.approx(canonical.triples_energy / HARTREE, abs=1e-6)
    assert local.mp2_correction == pytest.approx(0.0, abs=1e-8)
    error = canonical.energy - cut.energy
    assert abs(error - cut.mp2_correction) < abs(error)
