"""The committee: its members side by side, its file, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from potential_cases import SETTINGS, untrained
from safetensors import safe_open
from safetensors.torch import save_file

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.calculator import CommitteeCalculator
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.stack import look
from aiida_hqe.potentials.storage import checksum
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.selection.disagreement import per_atom

DATA = Path(__file__).parent.parent / "data"

FORCES_OF_FORMAT_1 = [
    [0.06252490378876249, -0.953181190841164, 0.2257828749082385],
    [0.32206810197245517, 0.8413202215767874, 1.2751895289456656],
    [-0.2751926737968757, -0.834450691857354, -1.1386988626684988],
    [0.13575923584750543, 0.2951484083434009, 0.7732226970077463],
    [0.6934967109406286, 0.6594237934199861, -0.6166570468301606],
    [-0.9461304914944895, -0.22363292399269372, -0.6084357277005706],
]
FORCES_OF_FORMAT_2 = [
    [-0.036034635794095694, 0.10500144018497101, 0.058371793748646525],
    [-0.07070360445010297, -0.034962994214609626, -0.2009972916394853],
    [0.10378388506875214, 0.027718309792430562, 0.18033168220189796],
    [-0.00670524809147811, 0.003957721589923853, -0.016835396205633568],
    [-0.0039009142376325717, -0.010140192448179361, -0.012348287414111864],
    [0.005393528585838764, -0.006367718225525978, 0.016940072093488055],
]


def test_replayed_graph_gives_the_energy_of_the_schnetpack_modules(frame: Frame) -> None:
    committee = untrained(3, "direct")
    inputs = [torch.tensor(array)[None] for array in look(frame, SETTINGS).inputs(frame)]
    for member, energy in zip(committee.members, committee.predict(frame).environment_energies, strict=True):
        network = build(SETTINGS, 0, seed=0).double()
        network.load_state_dict(dict(member.networks["environment"].state))
        expected = float(network(torch.tensor(frame.numbers), *inputs).detach())
        reference = member.networks["environment"].reference(frame.numbers)
        assert energy - reference == pytest.approx(expected, abs=1e-9)


def test_a_graph_recorded_for_one_geometry_serves_others(methanol: Frames) -> None:
    committee, fresh = untrained(2), untrained(2).replace()
    committee.predict(methanol[0])
    np.testing.assert_array_equal(committee.predict(methanol[1]).forces, fresh.predict(methanol[1]).forces)


def test_batch_of_predictions_equals_one_by_one(committee: Committee, methanol: Frames) -> None:
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    water = Frame(numbers=[8, 1, 1], positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], charge=0, spin=0, **nothing)
    frames = [methanol[0], water, methanol[1]]
    for one, other in zip(committee.predict_batch(frames), map(committee.predict, frames), strict=True):
        assert one.frame == other.frame
        np.testing.assert_array_equal(one.energies, other.energies)
        np.testing.assert_array_equal(one.mm_forces, other.mm_forces)


def test_merged_members_predict_as_they_did_alone(committee: Committee, frame: Frame) -> None:
    first, last = (committee.replace(members=[committee.members[k]]) for k in (0, 2))
    merged = Committee.merge([last, first])
    assert [member.number for member in merged.members] == [0, 2]
    expected = committee.predict(frame).forces
    np.testing.assert_allclose(merged.predict(frame).forces, expected[[0, 2]], atol=1e-11)
    np.testing.assert_allclose(last.predict(frame).forces, expected[[2]], atol=1e-11)
    assert (last.evaluate(frame).disagreement, last.evaluate(frame).energy_disagreement) == (0.0, 0.0)


def test_target_equals_environment_where_it_was_never_learned(frame: Frame) -> None:
    whole = untrained(2, "direct")
    bare = [
        type(member)(member.number, member.seed, {"environment": member.networks["environment"]})
        for member in whole.members
    ]
    found = whole.replace(members=bare).predict(frame)
    np.testing.assert_array_equal(found.energies, found.environment_energies)
    np.testing.assert_array_equal(found.energies, whole.predict(frame).environment_energies)


@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_file_gives_back_the_same_predictions_and_the_same_bytes(learn: str, frame: Frame, tmp_path: Path) -> None:
    committee = untrained(2, learn)
    committee.save(tmp_path / "one.safetensors")
    again = Committee.load(tmp_path / "one.safetensors")
    again.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    np.testing.assert_array_equal(committee.predict(frame).forces, again.predict(frame).forces)
    assert again.settings == committee.settings
    assert again.levels == {"environment", "target"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


@pytest.mark.parametrize(
    ("file_format", "energies", "forces"),
    [
        (1, (-3143.2600217745908, -3138.83825983784), FORCES_OF_FORMAT_1),
        (2, (-3037.0194603217487, -6079.6248373674725), FORCES_OF_FORMAT_2),
    ],
)
def test_a_file_of_an_earlier_format_predicts_what_it_did(
    file_format: int, energies: tuple[float, float], forces: list[list[float]], methanol: Frames, tmp_path: Path
) -> None:
    """Forces and energies that the program of then printed for it; 1 knows no charges in a difference, 2 nothing close by."""
    old = Committee.load(DATA / f"committee_format_{file_format}.safetensors")
    old.save(tmp_path / "new.safetensors")
    for committee in (old, Committee.load(tmp_path / "new.safetensors")):
        found = committee.predict(methanol[14])
        assert float(found.environment_energies[0]) == pytest.approx(energies[0], abs=1e-9)
        assert float(found.energies[0]) == pytest.approx(energies[1], abs=1e-9)
        np.testing.assert_allclose(found.forces[0], forces, atol=1e-9)


def test_a_changed_weight_is_noticed(committee: Committee, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    committee.save(path)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = "member.1.environment.energy.0.weight"
    tensors[name][0, 0] += 1e-3
    save_file(tensors, path, metadata)
    with pytest.raises(IntegrityError, match="checksum"):
        Committee.load(path)


def test_a_changed_reference_energy_is_noticed(committee: Committee, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    committee.save(path)
    with safe_open(path, framework="pt") as file:
        document, tensors = json.loads(file.metadata()["hqe"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document["members"]["0"]["networks"]["environment"]["references"]["6"] += 1.0
    save_file(tensors, path, {"hqe": json.dumps(document, sort_keys=True)})
    with pytest.raises(IntegrityError, match="checksum"):
        Committee.load(path)


def with_more_weights(document: dict[str, Any]) -> None:
    document["settings"]["features"] = 4


def rewritten(path: Path, committee: Committee, change: Callable[[dict[str, Any]], None]) -> Path:
    """A file whose checksum fits its content, which somebody else wrote."""
    committee.save(path)
    with safe_open(path, framework="pt") as file:
        document, tensors = json.loads(file.metadata()["hqe"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del document["checksum"]
    change(document)
    document["checksum"] = checksum(document, tensors)
    save_file(tensors, path, {"hqe": json.dumps(document, sort_keys=True)})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["units"].update(energy="kcal/mol"), "kcal/mol"),
        (lambda d: d["units"].pop("length"), "committee in"),
        (lambda d: d.update(elements=[1, 6, 200]), "between 1 and 118"),
        (lambda d: d.update(elements=[]), "between 1 and 118"),
        (lambda d: d.update(elements=[1, 6, 8, 9]), r"lacks \[9\]"),
        (lambda d: d.update(format=4), "update aiida-hqe"),
    ],
    ids=["unit", "no unit", "no element", "none", "no reference", "format"],
)
def test_a_whole_file_that_means_something_else_is_refused(
    change: Callable[[dict[str, Any]], None], message: str, committee: Committee, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        Committee.load(rewritten(tmp_path / "c.safetensors", committee, change))


@pytest.mark.parametrize(
    "change", [lambda d: d.pop("members"), lambda d: d.update(settings={"features": -1}), with_more_weights]
)
def test_a_file_that_lacks_what_a_committee_has_is_damaged(
    change: Callable[[dict[str, Any]], None], committee: Committee, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="committee file was expected"):
        Committee.load(rewritten(tmp_path / "c.safetensors", committee, change))


@pytest.mark.parametrize("odd", ["missing", "shape", "nan"])
@pytest.mark.parametrize("name", ["environment.energy.1.weight", "target.weight"])
def test_a_file_with_a_network_that_is_none_is_damaged(
    name: str, odd: str, committee: Committee, tmp_path: Path
) -> None:
    member = committee.members[1]
    level, _, tensor = name.partition(".")
    state = dict(member.networks[level].state)
    value = state.pop(tensor)
    if odd != "missing":
        state[tensor] = torch.zeros(300) if odd == "shape" else value * torch.nan
    network = dataclasses.replace(member.networks[level], state=state)
    spoilt = dataclasses.replace(member, networks={**member.networks, level: network})
    committee.replace(members=[committee.members[0], spoilt]).save(tmp_path / "c.safetensors")
    with pytest.raises(IntegrityError, match="restore it from its source"):
        Committee.load(tmp_path / "c.safetensors")


@pytest.mark.parametrize("cut", [0, 4, 500, -100])
def test_a_truncated_file_is_damaged(cut: int, committee: Committee, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    committee.save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError, match="restore"):
        Committee.load(path)


def test_some_other_safetensors_file_is_no_committee(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(IntegrityError, match="committee file"):
        Committee.load(tmp_path / "other.safetensors")


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        Committee.load(tmp_path / "none.safetensors")


def test_unknown_elements_and_another_charge_are_refused(committee: Committee, frame: Frame) -> None:
    with pytest.raises(InputError, match=r"\[9\]"):
        committee.predict(frame.replace(numbers=[6, 9, 1, 1, 1, 1], spin=1))
    with pytest.raises(InputError, match="charge 0 and spin 0"):
        committee.evaluate(frame.replace(charge=1, spin=1))


def test_charges_far_stronger_than_in_training_are_refused(committee: Committee, frame: Frame) -> None:
    seen = Surroundings.of(frame)
    ranges = {
        "largest_potential": float(np.abs(seen.potential).max()),
        "largest_field": float(np.linalg.norm(seen.field, axis=1).max()),
    }
    known = committee.replace(ranges=ranges)
    known.predict(frame.replace(mm_charges=2.9 * frame.mm_charges))
    strong = frame.replace(mm_charges=3.1 * frame.mm_charges)
    for ask in (known.predict, known.evaluate):
        with pytest.raises(InputError, match=r"potential of the point charges.*train on such frames"):
            ask(strong)
    with pytest.raises(InputError, match="field of the point charges"):
        known.replace(ranges=ranges | {"largest_potential": 1e3}).predict(strong)
    alone = committee.replace(ranges=dict.fromkeys(ranges, 0.0))
    alone.predict(frame.replace(mm_numbers=[], mm_positions=np.zeros((0, 3)), mm_charges=[]))
    with pytest.raises(InputError, match="of at most 0 "):
        alone.predict(frame)


def test_unlike_committees_do_not_merge(committee: Committee) -> None:
    with pytest.raises(InputError, match="different numbers"):
        Committee.merge([committee, committee])
    with pytest.raises(InputError, match="agree in learn"):
        Committee.merge([committee, untrained(1, "direct")])
    with pytest.raises(InputError, match="at least one"):
        Committee.merge([])


def test_ase_calculator_gives_what_the_committee_gives(committee: Committee, frame: Frame) -> None:
    atoms = Atoms(numbers=frame.numbers, positions=frame.positions)
    atoms.calc = CommitteeCalculator(committee, frame.mm_positions, frame.mm_charges)
    expected = committee.evaluate(frame)
    assert atoms.get_potential_energy() == expected.energy
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces)
    np.testing.assert_array_equal(atoms.calc.results["mm_forces"], expected.mm_forces)
    members = committee.predict(frame).environment_forces
    np.testing.assert_allclose(atoms.calc.results["atom_disagreement"], per_atom(members), rtol=1e-9)
    atoms.calc.set_charges(frame.mm_positions, 0 * frame.mm_charges)
    assert atoms.get_potential_energy() != expected.energy


@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_single_precision_in_dynamics_moves_forces_by_less_than_any_error_that_matters(
    learn: str, methanol: Frames
) -> None:
    exact = untrained(3, learn)
    single = exact.replace(precision="float32")
    one, other = exact.evaluate(methanol[0]), single.evaluate(methanol[0])
    assert other.energy == pytest.approx(one.energy, abs=1e-4)
    for name in ("forces", "mm_forces", "charge_gradient", "member_deviations"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=2e-5)
        assert np.abs(getattr(other, name) - getattr(one, name)).max() > 0.0
    np.testing.assert_array_equal(single.predict(methanol[0]).forces, exact.predict(methanol[0]).forces)


def test_a_member_alone_is_a_committee_without_disagreement(frame: Frame) -> None:
    committee = untrained(3)
    members = committee.predict(frame)
    for number in (1, 4):
        found = committee.alone(number).evaluate(frame)
        np.testing.assert_allclose(found.forces, members.forces[1], atol=1e-10)
        assert (found.disagreement, found.energy_disagreement, list(found.member_deviations)) == (0.0, 0.0, [0.0])
