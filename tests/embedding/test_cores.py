"""What a label says about its cores: parts that add up, additivity, truncated virtuals, the choice of cores."""

import functools
import importlib.util
import json

import numpy as np
import pytest
from cheap_level import make_level
from waters import WATER

from aiida_hqe.embedding.cores import choose, choose_core_orbitals, fix_core_orbitals
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels, label
from aiida_hqe.embedding.localization import intrinsic_bond, localize
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.labels import Label
from aiida_hqe.units import HARTREE


def test_the_parts_of_an_energy_add_up_in_json(dimer):
    level = make_level(core={"method": "ccsd(t)"}, embedding={"core_orbitals": [5, 5]})
    found = json.loads(label(dimer.replace(core=[1, 1, 1, 2, 2, 2]), level).model_dump_json())
    parts = ("mean_field_energy", "correlation_energy", "triples_energy")
    total = found["environment_energy"] + sum(core[part] for core in found["cores"] for part in parts)
    assert total == pytest.approx(found["energy"], abs=1e-9)
    assert all(core[part] != 0.0 for core in found["cores"] for part in parts)
    assert [(core["core"], core["orbitals"], core["projector"]) for core in found["cores"]] == [
        (1, 5, "huzinaga"), (2, 5, "huzinaga"),
    ]  # fmt: skip
    assert all(0.1 < core["gap"] <= 1.0 and core["seconds"] > 0.0 for core in found["cores"])
    assert len(repr(found["energy"])) >= 12


@pytest.mark.parametrize(
    ("embedding", "name"),
    [
        ({"projector": "fermi-huzinaga"}, "fermi-huzinaga"),
        ({"projector": {"level_shift": 1e6}}, "level shift 1e+06 hartree"),
        ({"functional": "static"}, None),
    ],
)
def test_a_core_names_its_projector(dimer, embedding, name):
    found = label(dimer, make_level(embedding={"core_orbitals": [5], **embedding}))
    assert found.cores[0].projector == name


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
    assert abs(label(frame, merging([5, 5])).merged_core_error) / HARTREE < 1e-6


def merging(core_orbitals, merged_core=True):
    return make_level(core={"method": "mp2"}, embedding={"core_orbitals": core_orbitals, "merged_core": merged_core})


def test_merged_core_error_is_the_energy_of_the_cores_less_that_of_one_core(dimer):
    frame = dimer.replace(core=[1, 1, 1, 2, 2, 2])
    found, whole = label(frame, merging([5, 5])), label(dimer.replace(core=[1] * 6), merging([10]))
    assert found.merged_core_error == pytest.approx(found.energy - whole.energy, abs=1e-7)
    assert 1e-5 < abs(found.merged_core_error) / HARTREE < 1e-2
    assert found.energy == pytest.approx(label(frame, merging([5, 5], merged_core=False)).energy, abs=1e-9)


def test_merged_core_error_is_for_several_cores_and_where_it_is_asked_for(dimer):
    assert label(dimer, merging([5])).merged_core_error is None
    assert label(dimer.replace(core=[1, 1, 1, 2, 2, 2]), merging([5, 5], merged_core=False)).merged_core_error is None


def test_a_merged_core_that_cannot_be_cut_says_so(dimer):
    found = label(dimer.replace(core=[1, 0, 0, 2, 0, 0]), merging([5, 3]))
    assert found.error_kind == "input"
    assert "gap" in found.message


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


def hydrogens(*positions, core):
    """Hydrogen atoms in a plane."""
    return Frame(
        numbers=[1] * len(positions), positions=[[x, y, 0.0] for x, y in positions], charge=0, spin=0, core=core
    )


def ring(*core):
    """Six hydrogen atoms, whose three orbitals lie on all of them alike."""
    corners = [(np.cos(angle), np.sin(angle)) for angle in np.arange(6) * np.pi / 3]
    return hydrogens(*corners, core=[int(atom in core) for atom in range(6)])


@pytest.mark.parametrize(("core", "words"), [((0, 1), "0.505 after 1 .* 0.408 after 2"), ((0, 2, 4), "0.000 after")])
def test_a_choice_among_delocalized_orbitals_is_refused(core, words):
    with pytest.raises(InputError, match=f"core 1 has no clear number of orbitals.*{words}.*: fix core_orbitals"):
        choose_core_orbitals([ring(*core)], make_level())
    assert "fix core_orbitals" in label(ring(*core), make_level()).message


def test_a_gap_that_closes_in_one_frame_is_no_gap():
    """Two bonds of four hydrogens: between the first two and the last two, or across them."""
    along = hydrogens((0.0, 0.0), (0.8, 0.0), (0.0, 2.0), (0.8, 2.0), core=[1, 1, 0, 0])
    across = hydrogens((0.0, 0.0), (2.0, 0.0), (0.0, 0.8), (2.0, 0.8), core=[1, 1, 0, 0])
    assert choose_core_orbitals([along], make_level()) == [1]
    with pytest.raises(InputError, match="in all of 2 frames"):
        choose_core_orbitals([along, across], make_level())


def test_a_single_orbital_cannot_be_cut():
    molecule = hydrogens((0.0, 0.0), (0.8, 0.0), core=[1, 0])
    with pytest.raises(InputError, match="one, which cannot be divided"):
        choose_core_orbitals([molecule], make_level())


def test_core_orbitals_that_go_to_another_atom_are_noticed():
    """A proton between two fluorides: its core holds one bond throughout, first to one of them, then to the other."""
    frames = [
        Frame(numbers=[9, 1, 9], positions=[[0, 0, 0], [x, 0, 0], [3.0, 0, 0]], charge=-1, spin=0, core=[0, 1, 0])
        for x in (0.95, 1.05, 2.05)
    ]
    states = [solve_environment(frame, make_level().environment) for frame in frames]
    same, moved = choose(states[:2], [1], "spade"), choose(states, [1], "spade")
    assert same.orbitals == moved.orbitals == 1
    assert 0.0 < same.drift < 0.1
    assert 0.3 < moved.drift < 1.0


def test_gaps_of_an_open_shell_are_those_of_its_labels(radical):
    state = solve_environment(radical, make_level().environment)
    choice = choose([state], [0, 1], "spade")
    found = label(radical, make_level(embedding={"core_orbitals": [choice.orbitals]}))
    assert found.cores[0].gap == pytest.approx(choice.gap, abs=1e-6)


def test_a_choice_is_made_once_and_for_each_molecule(methanol, dimer, water):
    moved = methanol.replace(positions=methanol.positions * 1.01)
    frames = Frames([methanol, dimer, moved, water.replace(core=[0, 0, 0])])
    fixed = fix_core_orbitals(frames, make_level())
    counts = [fixed[frame.hash].embedding.core_orbitals for frame in frames]
    assert counts == [[5], None, [5], None]  # a single frame is left to its label
    level = make_level(embedding={"core_orbitals": [4]})
    assert all(each is level for each in fix_core_orbitals(frames, level).values())


def test_a_choice_that_is_not_clear_costs_the_frames_of_that_molecule_only(dimer):
    unclear = [ring(0, 1), ring(0, 1).replace(positions=1.1 * ring(0, 1).positions)]
    clear = [dimer, dimer.replace(positions=1.01 * dimer.positions)]
    fixed = fix_core_orbitals(Frames([*unclear, *clear]), make_level())
    assert all(isinstance(fixed[frame.hash], InputError) for frame in unclear)
    assert all(fixed[frame.hash].embedding.core_orbitals == [5] for frame in clear)


def test_a_frame_that_cannot_be_computed_has_no_say_in_a_choice(dimer):
    charges = dimer.mm_positions.copy()
    charges[0] = dimer.positions[0]
    bad = dimer.replace(mm_positions=charges)
    fixed = fix_core_orbitals(Frames([bad, dimer]), make_level())
    assert fixed[bad.hash] == fixed[dimer.hash]
    assert fixed[dimer.hash].embedding.core_orbitals == [5]
    assert fix_core_orbitals(Frames([bad]), make_level())[bad.hash] == make_level()


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
    assert errors[0] > errors[1]
    assert errors[2] < max(errors[1], 1e-12)  # round-off of the energy
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
