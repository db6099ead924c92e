"""From the system section to an assembly: each way in, and each way to get it wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pytest
from openmm import app
from small_systems import TEMPLATE, TEMPLATES

from aiida_hqe.errors import InputError
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build

DATA = Path(__file__).parent / "data"
Build = Callable[..., Assembly]

AMBER: dict[str, Any] = {
    "topology": "methanol.prmtop",
    "coordinates": "methanol.inpcrd",
    "qm": {"residues": ["MOH"]},
    "cores": [{"atoms": [4, 5]}],
    "charge": 0,
    "cutoff": "4.5 angstrom",
    "switch_width": "1 angstrom",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the methanol template's files, to damage."""
    for name in ("methanol.pdb", "methanol.xml"):
        shutil.copy(TEMPLATE / name, tmp_path / name)
    return tmp_path


def test_methanol_in_water_is_divided_as_asked(methanol: Assembly) -> None:
    np.testing.assert_array_equal(methanol.numbers[methanol.qm_atoms], [6, 1, 1, 1, 8, 1])
    np.testing.assert_array_equal(methanol.core, [0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(methanol.charges[:6].sum(), 0.0, atol=1e-12)
    assert methanol.box is not None
    waters = (methanol.n_atoms - 6) // 3
    density = waters / np.linalg.det(methanol.box)  # molecules per cubic angstrom; liquid water has 0.0334
    assert 0.027 < density < 0.036
    assert len(methanol.groups.sizes) == waters


def test_a_system_builds_alike_each_time_ions_included(build_methanol: Build, tmp_path: Path) -> None:
    changes = {
        "forcefield": ["methanol.xml", "amber14/tip3p.xml"],
        "solvate": {"box": "20 angstrom", "ionic_strength": "0.5 molar"},
    }
    for name in ("one.h5", "two.h5"):
        build_methanol(**changes).write(tmp_path / name)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    ions = build_methanol(**changes)
    assert {11, 17} <= set(ions.numbers.tolist())


def test_a_water_model_with_virtual_sites_keeps_molecules_together(build_methanol: Build) -> None:
    assembly = build_methanol(
        forcefield=["methanol.xml", "tip4pew.xml"], solvate={"model": "tip4pew", "box": "16 angstrom"}
    )
    assert set(assembly.groups.sizes.tolist()) == {4}
    frame = assembly.frame()
    assert (frame.mm_numbers == 0).sum() * 4 == frame.n_mm


def test_a_pdb_without_solvent_is_a_cluster_without_box(build_methanol: Build) -> None:
    assembly = build_methanol(solvate=None, forcefield=["methanol.xml"])
    assert assembly.box is None
    assert assembly.frame().n_mm == 0


def test_peptide_in_water_builds_with_the_peptide_as_qm_region() -> None:
    directory = TEMPLATES / "peptide-water"
    settings = SystemSettings(
        topology="peptide.pdb",
        forcefield=["amber14-all.xml", "amber14/tip3p.xml"],
        solvate={"box": "24 angstrom"},
        qm={"residues": ["ACE", "NME"]},
        cores=[{"atoms": [4, 5, 6, 7]}],
        charge=0,
    )
    frame = build(settings, directory).frame()
    assert sorted(frame.numbers.tolist()) == 7 * [1] + 3 * [6] + [7, 8]
    np.testing.assert_array_equal(frame.numbers[frame.core == 1], [6, 8, 7, 1])
    assert frame.n_mm > 300
    frame.check_geometry()


def test_a_long_mm_molecule_is_grouped_by_residue() -> None:
    directory = TEMPLATES / "peptide-water"
    settings = SystemSettings(
        topology="peptide.pdb",
        forcefield=["amber14-all.xml", "amber14/tip3p.xml"],
        solvate={"box": "20 angstrom"},
        qm={"residues": ["HOH"]},
        charge=0,
    )
    with pytest.raises(InputError, match="a residue of the structure file, ACE, NME, was expected"):
        build(settings, directory)


def test_amber_files_give_the_energy_of_the_same_force_field_from_pdb(build_methanol: Build) -> None:
    amber = build(SystemSettings(**AMBER), DATA)
    pdb = build_methanol(solvate={"box": "13 angstrom"}, cutoff="4.5 angstrom", switch_width="1 angstrom")
    np.testing.assert_array_equal(amber.numbers, pdb.numbers)
    np.testing.assert_allclose(amber.charges, pdb.charges, atol=1e-6)
    np.testing.assert_array_equal(amber.bonds, pdb.bonds)
    assert energy(amber, amber) == pytest.approx(energy(pdb, amber), abs=0.05)  # kJ/mol; files hold 7 to 8 digits


def energy(assembly: Assembly, state: Assembly) -> float:
    """Energy (kJ/mol) of the force field of one assembly in the state of another."""
    system = openmm.XmlSerializer.deserialize(assembly.system)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setCutoffDistance(0.6)
            force.setEwaldErrorTolerance(1e-5)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    assert state.box is not None
    context.setPeriodicBoxVectors(*(state.box / 10))
    context.setPositions(state.positions / 10)
    return float(context.getState(energy=True).getPotentialEnergy()._value)


def test_bonds_to_hydrogen_are_rigid_but_keep_their_terms(methanol: Assembly) -> None:
    system = openmm.XmlSerializer.deserialize(methanol.system)
    bonds = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce))
    waters = (methanol.n_atoms - 6) // 3
    assert system.getNumConstraints() == 3 * waters + 4
    assert bonds.getNumBonds() == 2 * waters + 5


def test_a_solvated_pdb_is_used_as_it_is(methanol: Assembly, build_methanol: Build, files: Path) -> None:
    topology = app.PDBFile(str(files / "methanol.pdb")).topology
    template = app.ForceField(str(files / "methanol.xml"), "tip3p.xml")
    modeller = app.Modeller(topology, app.PDBFile(str(files / "methanol.pdb")).positions)
    modeller.addSolvent(template, boxSize=openmm.Vec3(1.6, 1.6, 1.6) * openmm.unit.nanometer)
    with (files / "wet.pdb").open("w") as stream:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, stream)
    wet = build_methanol(files, topology="wet.pdb", solvate=None, qm={"atoms": [5, 4, 3, 2, 1, 0]})
    np.testing.assert_array_equal(wet.qm_atoms, np.arange(6))
    np.testing.assert_allclose(wet.positions, methanol.positions, atol=2e-3)


def test_mmcif_builds_the_same_system_as_pdb(methanol: Assembly, build_methanol: Build, files: Path) -> None:
    pdb = app.PDBFile(str(files / "methanol.pdb"))
    with (files / "methanol.cif").open("w") as stream:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, stream)
    np.testing.assert_allclose(build_methanol(files, topology="methanol.cif").positions, methanol.positions, atol=1e-3)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"qm": {"atoms": [0, 1, 2, 3, 4, 6]}}, "system.qm.atoms", r"indices from 0 to 5 .* holds 6 atoms \(got 6\)"),
    ({"qm": {"atoms": list(range(40))}}, "system.qm.atoms", "holds 6 atoms"),
    ({"qm": {"atoms": [-1, 0]}}, "system.qm.atoms", "got -1"),
    ({"qm": {"atoms": [0, 0, 1, 2, 3, 4, 5]}}, "system.qm.atoms", "each atom once"),
    ({"qm": {"residues": ["MEOH"]}}, "system.qm.residues", "MOH, was expected .got MEOH"),
    ({"cores": [{"atoms": [4, 5]}, {"atoms": [99]}]}, "system.cores.1.atoms", "got 99"),
    ({"cores": [{"atoms": [4, 5]}, {"atoms": [0, 4]}]}, "system.cores.1.atoms", "got atom 4 in cores 1 and 2"),
    ({"cores": [{"residues": ["ALA"]}]}, "system.cores.0.residues", "got ALA"),
    ({"charge": 1}, "system.charge", r"the charge 0 that the force field gives .*\(got 1\)"),
    ({"spin": 1}, "system.spin", "an even number of unpaired electrons .*18 electrons .got spin 1"),
    ({"qm": {"atoms": [0, 1, 2, 3]}, "cores": []}, "system.qm", "0 .MOH C. - 4 .MOH O., a bond that is polar"),
    ({"cutoff": "7 angstrom"}, "system.cutoff", "make the box at least 17.1 angstrom"),
    ({"topology": "nothing.pdb"}, "system.topology", "got no file"),
    ({"topology": "methanol.xml"}, "system.topology", "one of .pdb"),
    ({"forcefield": ["methanol.xml", "tip3q.xml"]}, "system.forcefield.1", "got tip3q.xml"),
    ({"forcefield": []}, "system.forcefield", "for a PDB .got none"),
    ({"forcefield": ["tip3p.xml"]}, "system.forcefield", "No template found for residue .*MOH"),
    ({"forcefield": ["methanol.xml"]}, "system.forcefield", "parameters for every residue"),
]


@pytest.mark.parametrize(("changes", "key", "message"), BAD, ids=[f"{b[1]}-{k}" for k, b in enumerate(BAD)])
def test_bad_input_is_named_with_key_and_remedy(
    build_methanol: Build, changes: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build_methanol(**changes)
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


def test_a_core_outside_the_region_is_refused(build_methanol: Build, files: Path) -> None:
    lines = (files / "methanol.pdb").read_text().splitlines()
    water = [
        "HETATM    7  O   HOH A   2      10.000   0.000   0.000  1.00  0.00           O",
        "HETATM    8  H1  HOH A   2      10.957   0.000   0.000  1.00  0.00           H",
        "HETATM    9  H2  HOH A   2       9.760   0.927   0.000  1.00  0.00           H",
    ]
    (files / "two.pdb").write_text("\n".join([*lines[:7], *water, *lines[8:]]) + "\n")
    with pytest.raises(InputError, match="got atom 6, which is MM") as caught:
        build_methanol(files, topology="two.pdb", solvate=None, cores=[{"atoms": [4, 5, 6]}])
    assert caught.value.key == "system.cores.0.atoms"


def damaged(text: str, atom: int, start: int, replacement: str) -> str:
    lines = text.splitlines()
    line = lines[atom + 1]
    lines[atom + 1] = line[:start] + replacement + line[start + len(replacement) :]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "atoms were expected"),
        (lambda text: text[:200], "."),
        (lambda text: damaged(text, 2, 30, "     nan"), "finite coordinates .*NaN at atom 2"),
        (lambda text: damaged(text, 2, 30, "   zebra"), "a readable structure"),
        (lambda text: damaged(text, 2, 30, "   0.702  -1.177   0.010"), "atoms 1 and 2, 0.010 apart"),
    ],
    ids=["empty", "truncated", "nan", "text", "overlap"],
)
def test_a_damaged_structure_is_bad_input(
    build_methanol: Build, files: Path, damage: Callable[[str], str], message: str
) -> None:
    path = files / "methanol.pdb"
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=message) as caught:
        build_methanol(files)
    assert caught.value.key in {"system.topology", "system.forcefield"}


def test_a_missing_conect_record_is_explained(build_methanol: Build, files: Path) -> None:
    path = files / "methanol.pdb"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "CONECT" not in line))
    with pytest.raises(InputError, match="CONECT records"):
        build_methanol(files)


def test_a_force_field_that_is_no_xml_is_bad_input(build_methanol: Build, files: Path) -> None:
    (files / "methanol.xml").write_text("<ForceField>\n <AtomTypes>")
    with pytest.raises(InputError, match="a readable force-field XML") as caught:
        build_methanol(files)
    assert caught.value.key == "system.forcefield.0"


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"coordinates": None}, "system.coordinates", "an inpcrd file"),
        ({"coordinates": "methanol.prmtop"}, "system.coordinates", "a readable inpcrd"),
        ({"topology": "broken.prmtop"}, "system.topology", "a readable prmtop"),
        ({"coordinates": "short.inpcrd"}, "system.coordinates", "171 atoms as in methanol.prmtop were expected .got 6"),
        ({"solvate": {"box": "2 nm"}}, "system.solvate", "already holds"),
        ({"forcefield": ["tip3p.xml"]}, "system.forcefield", "already holds"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("system") else "",
)
def test_bad_amber_input_is_named(tmp_path: Path, changes: dict[str, Any], key: str, message: str) -> None:
    for name in ("methanol.prmtop", "methanol.inpcrd"):
        shutil.copy(DATA / name, tmp_path)
    text = (DATA / "methanol.prmtop").read_text()
    (tmp_path / "broken.prmtop").write_text(text[: len(text) // 3])
    (tmp_path / "short.inpcrd").write_text("methanol\n    6\n" + 3 * (6 * "   1.0000000" + "\n"))
    entries = {name: value for name, value in (AMBER | changes).items() if value is not None}
    with pytest.raises(InputError, match=message) as caught:
        build(SystemSettings(**entries), tmp_path)
    assert caught.value.key == key
