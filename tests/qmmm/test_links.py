"""A boundary through bonds: link atoms on the cut bonds, charges moved away from them, and what cannot be cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openmm import app

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Floats, Ints
from aiida_hqe.qmmm import links
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.boundary import Boundary
from aiida_hqe.qmmm.topology import Structure

Build = Callable[..., Assembly]

CA, CB = 8, 10
PEPTIDE_BOND = {"atoms": list(range(15, 23))}
"""C and O of serine, and all of NME: the bond CA - C is cut, and N-methylformamide is the QM molecule."""

BOTH_ENDS = {"atoms": [0, 1, 2, 3, 15, 16, 17, 18, 19, 20, 21, 22]}
"""The methyl of ACE and the other end: two fragments with one cut bond each."""


def test_a_cut_bond_is_found_and_carries_a_hydrogen_at_a_fixed_distance(serine: Assembly) -> None:
    frame = serine.frame()
    np.testing.assert_array_equal(serine.links, [[CB, CA]])
    np.testing.assert_array_equal(frame.numbers, [6, 1, 1, 8, 1, 1])
    np.testing.assert_array_equal(frame.core, [0, 0, 0, 1, 1, 0])
    assert frame.info == {"link_atoms": 1}
    bond = serine.positions[CA] - serine.positions[CB]
    np.testing.assert_allclose(
        frame.positions[5] - frame.positions[0], 1.09 * bond / np.linalg.norm(bond), rtol=0, atol=1e-12
    )
    assert frame.mm_numbers.min() == 1  # redistributed charges have the element of their host: xTB needs one
    frame.check_geometry()


@pytest.mark.parametrize("qm", [{"atoms": [10, 11, 12, 13, 14]}, PEPTIDE_BOND, BOTH_ENDS], ids=["side", "bond", "two"])
def test_charges_of_qm_and_mm_add_up_to_the_charge_of_the_whole(build_serine: Build, qm: dict[str, list[int]]) -> None:
    assembly = build_serine(qm=qm, cores=[], cutoff="30 angstrom")
    frame = assembly.frame()
    assert abs(assembly.charges[assembly.qm_atoms].sum()) > 1e-4  # what the force field leaves over
    assert frame.charge + frame.mm_charges.sum() == pytest.approx(round(assembly.charges.sum()), abs=1e-12)


def test_each_fragment_gives_its_remainder_to_its_own_hosts(build_serine: Build) -> None:
    assembly = build_serine(qm=BOTH_ENDS, cores=[])
    np.testing.assert_array_equal(assembly.links, [[1, 4], [15, 8]])
    parts = [assembly.charges[[0, 1, 2, 3]].sum(), assembly.charges[15:23].sum()]
    np.testing.assert_allclose(assembly.boundary.balance, parts, rtol=0, atol=1e-12)
    assert len(assembly.frame().numbers) == 14


def test_no_charge_stays_near_the_link_atom_and_the_dipole_of_its_bonds_is_kept(serine: Assembly) -> None:
    boundary, n = serine.boundary, serine.n_atoms
    felt, sites = boundary.charges(serine.charges), boundary.extend(serine.positions)
    frame = serine.frame()
    assert felt[CA] == 0.0
    assert np.linalg.norm(sites[n] - serine.positions[CA]) < 0.5  # where the charge of the host would have been
    assert np.linalg.norm(frame.mm_positions - frame.positions[5], axis=1).min() > 0.75
    mm = np.setdiff1d(np.arange(len(felt)), serine.region)
    force_field = serine.charges[mm[mm < n]] + boundary.balance[0] * (mm[mm < n] == CA)
    dipole = (felt[mm, None] * sites[mm]).sum(axis=0)
    np.testing.assert_allclose(dipole, (force_field[:, None] * sites[mm[mm < n]]).sum(axis=0), rtol=0, atol=1e-10)


def random_boundary(seed: int = 0) -> tuple[Boundary, Floats]:
    """Two links, one of them to a host with three neighbours; 9 atoms."""
    bonds = np.array([[0, 1], [0, 2], [2, 3], [2, 4], [2, 5], [1, 6], [6, 7], [7, 8]])
    links_, rng = np.array([[0, 2], [1, 6]]), np.random.default_rng(seed)
    charges = rng.normal(size=9)
    boundary = Boundary.of(links_, np.array([1.09, 0.97]), bonds, charges, np.array([0, 1]))
    return boundary, rng.normal(scale=2.0, size=(9, 3))


def test_forces_on_sites_pass_to_both_parents_as_the_chain_rule_says() -> None:
    boundary, positions = random_boundary()
    pulls = np.random.default_rng(1).normal(size=(len(boundary.extend(positions)), 3))
    forces, h = boundary.project(pulls, positions), 1e-5
    numerical = np.zeros_like(positions)
    for index in np.ndindex(*positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = h
        change = boundary.extend(positions + shift) - boundary.extend(positions - shift)
        numerical[index] = (pulls * change).sum() / (2 * h)
    np.testing.assert_allclose(forces, numerical, rtol=0, atol=1e-9)


def test_projection_keeps_total_force_and_torque() -> None:
    boundary, positions = random_boundary(2)
    sites = boundary.extend(positions)
    pulls = np.random.default_rng(3).normal(size=sites.shape)
    forces = boundary.project(pulls, positions)
    np.testing.assert_allclose(forces.sum(axis=0), pulls.sum(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        np.cross(positions, forces).sum(axis=0), np.cross(sites, pulls).sum(axis=0), rtol=0, atol=1e-12
    )


def test_a_frame_does_not_depend_on_images_or_origin(serine: Assembly) -> None:
    assert serine.box is not None
    shifts = np.random.default_rng(0).integers(-3, 4, (serine.n_atoms, 3)) @ serine.box + np.array([3.7, -11.0, 101.3])
    frame, moved = serine.frame(), serine.frame(serine.positions + shifts, serine.box)
    np.testing.assert_array_equal(frame.mm_numbers, moved.mm_numbers)
    for name in ("positions", "mm_positions", "mm_charges"):
        np.testing.assert_allclose(getattr(frame, name), getattr(moved, name), rtol=0, atol=1e-10)


def test_a_region_of_side_chain_and_water_keeps_its_boundary_across_the_box_face(serine: Assembly) -> None:
    assert serine.box is not None
    oxygens = np.arange(23, serine.n_atoms, 3)
    near = int(oxygens[np.linalg.norm(serine.positions[oxygens] - serine.positions[13], axis=1).argmin()])
    water = np.arange(near, near + 3)
    group = serine.group.copy()
    group[water] = -1
    qm_atoms = np.concatenate([serine.qm_atoms, water])
    pair = serine.replace(qm_atoms=qm_atoms, core=np.zeros(8), group=group, cutoff=5.0)
    far = serine.positions.copy()
    far[:23] += 2 * serine.box[0] - serine.box[2]  # the peptide is the first molecule, the water comes to it
    far[water] -= serine.box[1]
    frame, moved = pair.frame(), pair.frame(far, pair.box)
    np.testing.assert_allclose(moved.positions, frame.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(moved.mm_positions, frame.mm_positions, rtol=0, atol=1e-10)


def test_the_residue_at_the_boundary_never_fades_and_others_do(build_serine: Build) -> None:
    near = build_serine(cutoff="1 angstrom", switch_width="0.5 angstrom").frame()  # nothing else is that close
    far = build_serine(cutoff="30 angstrom").frame()
    assert near.n_mm == 5 + 3  # N, H, HA, C, O of serine, and three redistributed charges
    assert far.n_mm == near.n_mm + 12
    found = {tuple(row) for row in np.column_stack([far.mm_positions, far.mm_charges])}
    assert {tuple(row) for row in np.column_stack([near.mm_positions, near.mm_charges])} <= found
    assert near.mm_charges.sum() == pytest.approx(0.0, abs=1e-12)


def test_an_assembly_with_links_comes_back_from_equal_bytes(serine: Assembly, tmp_path: Path) -> None:
    serine.write(tmp_path / "one.h5")
    back = Assembly.read(tmp_path / "one.h5")
    back.write(tmp_path / "two.h5")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert back.frame().hash == serine.frame().hash


def test_links_between_the_wrong_atoms_are_refused(serine: Assembly, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="links from QM to MM atoms"):
        serine.replace(links=[[CA, CB]])
    import h5py

    serine.write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["links"][0, 1] = 11
    with pytest.raises(IntegrityError, match="links from QM to MM atoms"):
        Assembly.read(tmp_path / "a.h5")


def molecule(elements: str, bonds: list[tuple[int, int]]) -> tuple[Structure, Ints, Ints]:
    """Structure (its names alone), bonds and atomic numbers; hydrogens are written out."""
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for k, symbol in enumerate(elements):
        topology.addAtom(f"{symbol}{k}", app.Element.getBySymbol(symbol), residue)
    numbers = np.array([app.Element.getBySymbol(symbol).atomic_number for symbol in elements])
    system: Any = None
    return Structure(topology, system, np.zeros((len(elements), 3)), None, len(elements)), np.array(bonds), numbers


def ring(size: int, hydrogens: int) -> tuple[str, list[tuple[int, int]]]:
    """Elements and bonds of a ring of carbon with so many hydrogens on each."""
    bonds = [(k, (k + 1) % size) for k in range(size)]
    bonds += [(k, size + k * hydrogens + h) for k in range(size) for h in range(hydrogens)]
    return "C" * size + "H" * size * hydrogens, [(min(bond), max(bond)) for bond in bonds]


ETHENE = ("CCHHHH", [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5)])
PROPANE = ("CCCHHHHHHHH", [(0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (2, 8), (2, 9), (2, 10)])
BUTANE = (
    "CCCCHHHHHHHHHH",
    [(0, 1), (1, 2), (2, 3), (0, 4), (0, 5), (0, 6), (1, 7), (1, 8), (2, 9), (2, 10), (3, 11), (3, 12), (3, 13)],
)
METHANOL = ("COHHHH", [(0, 1), (0, 2), (0, 3), (0, 4), (1, 5)])


@pytest.mark.parametrize(
    ("graph", "qm", "message"),
    [
        (METHANOL, [1, 5], r"1 \(MOL O1\) - 0 \(MOL C0\), a bond that is polar"),
        (METHANOL, [0, 1, 2, 3, 4], r"1 \(MOL O1\) - 5 \(MOL H5\), a bond to hydrogen"),
        (ETHENE, [0, 2, 3], "neither carbon has four neighbours"),
        (ring(6, 1), [0, 1, 2, 6, 7, 8], "double, aromatic or conjugated"),
        (ring(6, 2), [0, 6, 7], "in a ring of 6 atoms"),
        (PROPANE, [0, 3, 4, 5, 2, 8, 9, 10], r"got 1 \(MOL C1\), bonded to 2"),
        (BUTANE, [0, 3, 4, 5, 6, 11, 12, 13], r"the neighbours 1 \(MOL C1\) - 2 \(MOL C2\)"),
    ],
    ids=["polar", "hydrogen", "double", "aromatic", "ring", "shared", "adjacent"],
)
def test_what_cannot_be_cut_is_named_with_what_to_do(
    graph: tuple[str, list[tuple[int, int]]], qm: list[int], message: str
) -> None:
    structure, bonds, numbers = molecule(*graph)
    with pytest.raises(InputError, match=message) as caught:
        links.find(structure, bonds, numbers, np.array(sorted(qm)))
    assert caught.value.key == "system.qm"
    assert "QM region" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_large_ring_and_a_chain_can_be_cut() -> None:
    structure, bonds, numbers = molecule(*ring(12, 2))
    half = np.array([k for k in range(36) if k < 6 or 12 <= k < 24])
    found, lengths = links.find(structure, bonds, numbers, half)
    np.testing.assert_array_equal(found, [[0, 11], [5, 6]])
    np.testing.assert_array_equal(lengths, [1.09, 1.09])
    structure, bonds, numbers = molecule(*BUTANE)
    np.testing.assert_array_equal(links.find(structure, bonds, numbers, np.array([0, 4, 5, 6]))[0], [[0, 1]])


def test_a_fragment_far_from_integer_charge_is_refused() -> None:
    bonds, charges = np.array([[0, 1], [1, 2]]), np.array([0.4, -0.3, -0.1])
    with pytest.raises(InputError, match=r"within 0\.25 e of an integer was expected .got 0.400"):
        links.check_remainders(np.array([[0, 1]]), bonds, charges, np.array([0]))


def test_the_charge_of_a_cut_region_is_the_nearest_integer(build_serine: Build) -> None:
    with pytest.raises(InputError, match="the charge 0 that the force field gives") as caught:
        build_serine(charge=1)
    assert caught.value.key == "system.charge"
    with pytest.raises(InputError, match=r"18 electrons .got spin 1"):
        build_serine(spin=1)


def test_a_core_holds_qm_atoms_and_never_a_host_or_link_atom(build_serine: Build) -> None:
    near = build_serine(cores=[{"atoms": [10, 11, 12]}]).frame()
    np.testing.assert_array_equal(near.core, [1, 1, 1, 0, 0, 0])
    with pytest.raises(InputError, match="got atom 8, which is MM"):
        build_serine(cores=[{"atoms": [8, 10]}])
    with pytest.raises(InputError, match=r"holds 23 atoms .got 23"):
        build_serine(cores=[{"atoms": [13, 23]}])
