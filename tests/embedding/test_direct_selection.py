"""Cores from configurations: the atoms of the orbitals that change, and nothing else."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from cheap_level import make_level
from small_systems import WATER

from aiida_hqe.embedding import alignment, direct_selection, localization
from aiida_hqe.embedding.alignment import align, match
from aiida_hqe.embedding.direct_selection import compare, core_sets
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.proposal import Proposal, propose
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.units import HARTREE

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "orbital_selection.py"


def load():
    spec = importlib.util.spec_from_file_location("orbital_selection", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SERENITY = load()


def frames_of(numbers, *positions, **fields):
    return Frames(
        Frame(numbers=numbers, positions=each, charge=fields.get("charge", 0), spin=fields.get("spin", 0))
        for each in positions
    )


def turn(axis, angle):
    """Rotation matrix."""
    cross = np.cross(np.eye(3), np.asarray(axis) / np.linalg.norm(axis))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def stretched(methanol, factor):
    """Methanol with its O-H bond stretched."""
    positions = methanol.positions.copy()
    positions[5] = positions[1] + factor * (positions[5] - positions[1])
    return methanol.replace(positions=positions)


@pytest.fixture(scope="module")
def stretching(methanol) -> Frames:
    return Frames(stretched(methanol, factor) for factor in (1.0, 1.15, 1.3))


@pytest.fixture(scope="module")
def proposal(stretching) -> Proposal:
    return propose(stretching, make_level())


def selected(found):
    return {orbital.name for orbital in found.orbitals if orbital.selected}


def test_a_bond_that_stretches_is_the_core(proposal):
    assert [core.atoms for core in proposal.cores] == [[1, 5]]
    assert selected(proposal) == {"O1-H5 bond", "lone pair of O1"}
    assert proposal.core_orbitals == [5]
    assert proposal.cores[0].choice.gap > 0.5


def test_the_number_of_orbitals_and_the_gap_are_those_of_the_labels(proposal, stretching):
    marked = proposal.mark(stretching)
    level = make_level(embedding={"core_orbitals": proposal.core_orbitals})
    labels = [label(frame, level) for frame in marked]
    assert min(found.cores[0].gap for found in labels) == pytest.approx(proposal.cores[0].choice.gap, abs=1e-6)
    assert [frame.core.tolist() for frame in marked] == [[0, 1, 0, 0, 0, 1]] * 3


def test_a_stretched_single_bond_alone_is_found_in_ethane():
    """The C-C bond changes and no C-H bond does, as direct orbital selection is expected to find for ethane."""
    frames = SERENITY.structures([6, 6, *[1] * 6], SERENITY.ethane(0.0), SERENITY.ethane(0.3))
    found = propose(frames, make_level(), kinetic=0.1 * HARTREE, location=0.1)
    assert selected(found) == {"C0-C1 bond"}
    assert [core.atoms for core in found.cores] == [[0, 1]]


def test_a_double_bond_that_twists_is_found():
    frames = SERENITY.structures([6, 6, *[1] * 4], SERENITY.ethene(0.0), SERENITY.ethene(60.0))
    found = propose(frames, make_level())
    assert [core.atoms for core in found.cores] == [[0, 1]]
    assert selected(found) == {"C0-C1 bond"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERENITY.PATHS)
def test_orbitals_are_those_that_serenity_selects(name):
    path = SERENITY.PATHS[name]
    assert SERENITY.counts(path.frames) == path.counts


def test_two_bonds_far_apart_are_two_cores():
    """Two waters, one bond of each stretched: two cores, and not one."""
    longer = np.add(WATER, [[0, 0, 0], [0.3, 0, 0], [0, 0, 0]])
    far = np.array([0.0, 0.0, 8.0])
    frames = frames_of([8, 1, 1] * 2, np.vstack([WATER, WATER + far]), np.vstack([longer, longer + far]))
    found = propose(frames, make_level())
    assert [core.atoms for core in found.cores] == [[0, 1], [3, 4]]
    assert found.core_orbitals == [5, 5] or found.core_orbitals == [4, 4]


def test_frames_that_differ_by_a_rotation_have_no_core(methanol):
    moved = methanol.replace(positions=methanol.positions @ turn([1, 2, 3], 1.1).T + 2.0)
    found = propose(Frames([methanol, moved, methanol]), make_level())
    assert found.cores == []
    assert found.core_orbitals is None
    assert found.alike
    assert max(orbital.kinetic for orbital in found.orbitals) < 1e-2
    assert max(orbital.location for orbital in found.orbitals) < 1e-3


def test_neither_rotation_nor_numbering_changes_the_choice(proposal, stretching):
    order = np.array([3, 5, 0, 4, 1, 2])
    moved = Frames(
        frame.replace(
            numbers=frame.numbers[order],
            core=frame.core[order],
            positions=(frame.positions @ turn([1, -1, 0.3], 0.7 * number).T)[order],
        )
        for number, frame in enumerate(stretching)
    )
    found = propose(moved, make_level())
    assert [sorted(order[core.atoms]) for core in found.cores] == [[1, 5]]
    assert found.core_orbitals == proposal.core_orbitals
    assert [orbital.score for orbital in found.orbitals] == pytest.approx(
        [orbital.score for orbital in proposal.orbitals], abs=0.02
    )


def test_point_charges_are_part_of_a_configuration(dimer):
    """A charge that comes close changes the orbitals of the molecule whose atoms stay."""
    near = dimer.mm_positions.copy()
    near[3] = dimer.positions[1] + [0.0, 1.0, 0.0]
    changed = dimer.replace(mm_positions=near, mm_charges=[-0.834, 0.417, 0.417, -2.0])
    scores = [propose(Frames([dimer, each]), make_level()).orbitals[0].score for each in (dimer, changed)]
    assert scores[0] < 1e-3
    assert scores[1] > 0.3


def test_smaller_thresholds_give_larger_cores(stretching):
    changes = compare([solve_environment(frame, make_level().environment) for frame in stretching])
    sizes = []
    for scale in (10.0, 1.0, 0.2, 0.01, 1e-6):
        sets = core_sets(changes, scale * 0.05 * HARTREE, scale * 0.05)
        sizes.append(sum(len(atoms) for atoms in sets))
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[-1] == 6


def test_alternatives_are_at_other_thresholds(proposal):
    for other in proposal.alternatives:
        assert other.cores != [core.atoms for core in proposal.cores]
        assert other.kinetic_threshold / proposal.kinetic_threshold == pytest.approx(
            other.location_threshold / proposal.location_threshold
        )
    assert all(
        one.cores != next_.cores for one, next_ in zip(proposal.alternatives, proposal.alternatives[1:], strict=False)
    )


def test_marked_cores_are_reported_with_their_number_of_orbitals(proposal):
    (marked,) = proposal.marked
    assert (marked.core, marked.atoms, marked.choice.orbitals) == (1, [1, 5], 5)


def test_an_open_shell_is_compared_spin_by_spin(radical):
    positions = radical.positions.copy()
    positions[1] = positions[0] + 1.3 * (positions[1] - positions[0])
    found = propose(Frames([radical, radical.replace(positions=positions)]), make_level())
    assert {orbital.spin for orbital in found.orbitals} == {"alpha", "beta"}
    assert len(found.orbitals) == 19
    assert [core.atoms for core in found.cores] == [[0, 1]]
    assert found.core_orbitals == [5]


def test_a_proposal_survives_its_json(proposal):
    assert Proposal.model_validate_json(proposal.model_dump_json()) == proposal


def test_one_frame_or_several_molecules_cannot_be_compared(methanol, water, dimer):
    with pytest.raises(InputError, match="two or more frames"):
        propose(Frames([methanol]), make_level())
    with pytest.raises(InputError, match="one molecule"):
        propose(Frames([water, dimer]), make_level())
    swapped = methanol.replace(numbers=methanol.numbers[::-1], positions=methanol.positions[::-1])
    with pytest.raises(InputError, match="one order"):
        propose(Frames([methanol, swapped]), make_level())


def test_a_frame_that_cannot_be_computed_is_named(methanol):
    with pytest.raises(InputError, match=f"frame {methanol.hash[:12]}: .*functional"):
        propose(Frames([methanol, methanol]), make_level(environment={"xc": "no-such"}))


def test_alignment_undoes_a_rotation_of_orbitals(methanol):
    """Valence orbitals in another order, two of them turned: aligned, they have the old populations."""
    state = solve_environment(methanol, make_level().environment)
    coefficients, owners = localization.intrinsic_atomic(state, 0)
    C = (coefficients @ localization.localizing_rotation(state, (coefficients, owners), 4))[:, 2:]
    reference = (C**2).T
    spoil = np.eye(7)
    spoil[:2, :2] = turn([0, 0, 1], 0.6)[:2, :2]
    spoilt = C @ spoil[:, np.random.default_rng(3).permutation(7)]
    U = align(np.einsum("si,sj->sij", spoilt, spoilt), reference)
    assert np.abs(U.T @ U - np.eye(7)).max() < 1e-12
    assert np.abs(((spoilt @ U) ** 2).T - reference).max() < 1e-3


def test_a_ring_keeps_its_bonds(monkeypatch):
    """A ring of six hydrogens has two sets of three bonds; every frame has that of the first one, only by the alignment."""
    angles = np.arange(6) * np.pi / 3
    corners = np.array([np.cos(angles), np.sin(angles), 0.0 * angles]).T
    rng = np.random.default_rng(5)
    frames = frames_of([1] * 6, *(corners + 0.01 * rng.normal(size=corners.shape) for _ in range(6)))
    states = [solve_environment(frame, make_level().environment) for frame in frames]
    assert compare(states)[0].location.max() < 0.3
    monkeypatch.setattr(direct_selection, "align", lambda charges, reference: np.eye(len(reference)))
    assert compare(states)[0].location.max() > 0.9


def test_matching_takes_every_orbital_once():
    reference = np.random.default_rng(0).dirichlet(np.ones(6), size=5)
    order = np.array([3, 0, 4, 2, 1])
    assert order[match(reference[order], reference)].tolist() == [0, 1, 2, 3, 4]


def test_the_best_turn_of_two_orbitals_is_found_wherever_it_is():
    rng = np.random.default_rng(4)
    for _ in range(20):
        half, off, wanted = rng.normal(size=(3, 5))
        angle = alignment._angle(half, off, wanted)
        grid = np.linspace(-np.pi / 2, np.pi / 2, 20001)
        turns = np.append(grid, angle)[:, None]
        values = ((half * np.cos(2 * turns) + off * np.sin(2 * turns) - wanted) ** 2).sum(axis=1)
        assert values[-1] <= values[:-1].min() + 1e-9


def test_lone_pairs_of_a_spectator_do_not_change(monkeypatch):
    """An O-H bond of one water stretches: the lone pairs of the other turn among themselves, and are no core for that."""
    waters = np.array(
        [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [0.3, 0.2, 3.2], [1.2, 0.5, 3.3], [-0.1, 1.0, 3.6]]
    )
    longer = waters * np.where(np.arange(6) == 1, 1.3, 1.0)[:, None]
    frames = frames_of([8, 1, 1] * 2, waters, longer)
    states = [solve_environment(frame, make_level().environment) for frame in frames]
    (changes,) = compare(states)
    assert core_sets([changes], 0.05 * HARTREE, 0.05) == [[0, 1]]
    pairs = [n for n in range(2, 10) if changes.atoms(n) == [3]]
    assert changes.location[pairs].max() < 0.001
    monkeypatch.setattr(direct_selection, "_groups", lambda populations, n_inner: np.eye(10))
    assert compare(states)[0].location[pairs].max() > 0.1
