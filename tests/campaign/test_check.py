from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiida_hqe.campaign import template
from aiida_hqe.campaign.check import check
from aiida_hqe.campaign.plan import CorePlan, estimated_seconds
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError


@pytest.mark.parametrize("name", template.names())
def test_every_template_is_in_order(name: str, tmp_path: Path) -> None:
    path = template.copy(name, tmp_path)[0]
    checked = check(path)
    assert checked.directory == tmp_path
    assert {file.name for file in checked.files.values()} == {file.name for file in tmp_path.iterdir()} - {
        "campaign.yaml"
    }
    assert checked.assembly.frame().n_cores == 1
    assert checked.summary()["campaign"] == checked.campaign.model_dump(mode="json")


def test_a_plan_counts_electrons_orbitals_and_labels(folder: Path) -> None:
    plan = check(folder / "campaign.yaml").plan()
    assert plan.electrons == 18
    assert plan.basis_functions == 48
    assert plan.cores == [CorePlan(core=1, atoms=2, orbitals=5, frozen=1, virtuals=48 - 9)]
    assert plan.max_labels == 32 + 2 * 8
    assert plan.box == (23.0, 23.0, 23.0)
    assert plan.label_seconds_kind == "estimated"
    assert plan.max_core_hours == pytest.approx(plan.label_seconds * plan.max_labels / 3600)
    assert all(name and value for name, value in plan.table())


def test_the_estimated_cost_grows_with_basis_core_method_and_forces() -> None:
    def core(orbitals: int) -> list[CorePlan]:
        return [CorePlan(core=1, atoms=2, orbitals=orbitals, frozen=1, virtuals=80)]

    def level(method: str, forces: Any = "none") -> Level:
        return Level.model_validate({"core": {"method": method}, "forces": forces})

    coupled = estimated_seconds(96, core(5), level("ccsd(t)"))
    assert estimated_seconds(96, core(5), level("ccsd")) > 3 * estimated_seconds(48, [], level("hf"))
    assert estimated_seconds(96, core(9), level("ccsd")) > estimated_seconds(96, core(5), level("ccsd"))
    assert coupled > estimated_seconds(96, core(5), level("ccsd"))
    assert estimated_seconds(96, core(5), level("mp2")) == estimated_seconds(96, core(9), level("hf"))
    assert coupled < estimated_seconds(96, core(5), level("ccsd(t)", {"method": "mp2"}))
    assert estimated_seconds(96, core(5), level("ccsd(t)", {"method": "mp2"})) < estimated_seconds(
        96, core(5), level("ccsd(t)", "analytic")
    )
    assert estimated_seconds(96, core(5), level("ccsd(t)", "numerical"), n_sites=10) == 61 * coupled


BAD = {
    "QM atom out of range": ("qm: {residues: [MOH]}", "qm: {atoms: [0, 1, 2, 3, 4, 99]}", "system.qm.atoms", "0 to 5"),
    "more QM atoms than the file holds": ("qm: {residues: [MOH]}", "qm: {atoms: [0,1,2,3,4,5,6]}", "system.qm.atoms", "6 atoms"),
    "unknown residue": ("qm: {residues: [MOH]}", "qm: {residues: [MEH]}", "system.qm.residues", "MOH"),
    "cut through a bond": ("qm: {residues: [MOH]}", "qm: {atoms: [4, 5]}", "system.qm", "to a C-C single bond"),
    "core atom out of range": ("atoms: [4, 5]", "atoms: [4, 50]", "system.cores.0.atoms", "0 to 5"),
    "two cores, one number of orbitals": (
        "- atoms: [4, 5]", "- atoms: [4, 5]\n    - atoms: [0, 5]", "levels.embedding.core_orbitals", "2 cores",
    ),
    "odd electrons with spin 0": ("charge: 0 ", "charge: 1 ", "system.charge", "force field"),
    "spin that does not fit": ("spin: 0", "spin: 1", "system.spin", "even"),
    "cutoff beyond half the box": ("cutoff: 8.5 angstrom", "cutoff: 14 angstrom", "system.cutoff", "box"),
    "residue without parameters": ("[methanol.xml, tip3p.xml]", "[tip3p.xml]", "system.forcefield", "parameters"),
    "unknown force field": ("tip3p.xml]", "tip33p.xml]", "system.forcefield.1", "tip33p.xml"),
    "no such structure": ("topology: methanol.pdb", "topology: nothing.pdb", "system.topology", "nothing.pdb"),
    "file outside the folder": ("topology: methanol.pdb", "topology: ../methanol.pdb", "system.topology", "copy it there"),
    "unknown functional": ("xc: pbe", "xc: pbbe", "levels.environment.xc", "pbe0"),
    "unknown basis": ("basis: def2-svp", "basis: def3-svp", "levels.environment.basis", "def2-svp"),
    "more core orbitals than occupied": ("orbitals: [5]", "orbitals: [10]", "levels.embedding.core_orbitals.0", "1 to 9"),
    "core without orbitals": ("orbitals: [5]", "orbitals: [0]", "levels.embedding.core_orbitals.0", "1 to 9"),
    "nonbonded cutoff beyond half the box": (
        "interval: 20", "interval: 50\n  nonbonded_cutoff: 1.2 nm", "sampling.nonbonded_cutoff", "half the box",
    ),
    "bias on an atom that is not there": (
        "interval: 20", "interval: 20\n  bias: {centre: 2 angstrom, distances: [[0, 4], [4, 99999]]}",
        "sampling.bias.distances.1", "an atom from 0 to 1133 was expected, because the assembly holds 1134 (got 99999)",
    ),
    "target error of zero": ("200 meV/angstrom", "0 meV/angstrom", "selection.target_force_error", "greater than 0"),
    "no unit": ("cutoff: 8.5 angstrom", "cutoff: 8.5", "system.cutoff", "with its unit, such as '1 angstrom'"),
    "wrong unit": ("temperature: 300 K", "temperature: 300 eV", "sampling.temperature", "in one of K"),
    "fewer than two members": ("members: 4", "members: 1", "training.members", "at least 2"),
    "unknown key": ("switch_width:", "swich_width:", "system.swich_width", "did you mean switch_width?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_campaign_is_one_line_that_says_where_and_what_to_do(
    edited: Callable[[str, str], Path], case: str
) -> None:
    old, new, key, remedy = BAD[case]
    path = edited(old, new)
    with pytest.raises(InputError) as raised:
        check(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    line, found = message.removeprefix(f"{path}:").split(": ")[:2]
    assert found == key
    assert remedy in message
    assert "(got" in message
    section = key.removesuffix(".0").removesuffix(".1").split(".")[-1]
    assert section in path.read_text().splitlines()[int(line) - 1]


def test_overlapping_cores_are_refused(edited: Callable[[str, str], Path]) -> None:
    path = edited("- atoms: [4, 5]", "- atoms: [4, 5]\n    - atoms: [0, 5]")
    path.write_text(path.read_text().replace("core_orbitals: [5]", "core_orbitals: [5, 5]"))
    with pytest.raises(InputError, match=r"system\.cores\.1\.atoms: cores without common atoms were expected"):
        check(path)


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (lambda text: text.replace("  -1.372", "     nan"), "NaN"),
        (lambda text: text.replace("-1.372   0.747  -0.000", "-1.072  -0.149  -0.000"), "at least 0.35 angstrom apart"),
        (lambda text: "", "atoms were expected"),
    ],
)
def test_a_damaged_structure_is_refused(folder: Path, spoil: Callable[[str], str], remedy: str) -> None:
    structure = folder / "methanol.pdb"
    spoiled = spoil(structure.read_text())
    assert spoiled != structure.read_text()
    structure.write_text(spoiled)
    with pytest.raises(InputError) as raised:
        check(folder / "campaign.yaml")
    assert ": system.topology: " in str(raised.value)
    assert remedy in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_core_outside_the_region_is_refused(tmp_path: Path) -> None:
    path = template.copy("peptide-water", tmp_path)[0]
    text = path.read_text().replace("topology: peptide.pdb", "topology: both.pdb")
    text = text.replace("qm: {residues: [ACE, NME]}", "qm: {residues: [MOH]}")
    text = text.replace("[amber14-all.xml, ", "[methanol.xml, amber14-all.xml, ")
    path.write_text(text)
    template.copy("methanol-water", tmp_path / "methanol")
    methanol = (tmp_path / "methanol" / "methanol.pdb").read_text()
    (tmp_path / "methanol.xml").write_text((tmp_path / "methanol" / "methanol.xml").read_text())
    peptide = [line for line in (tmp_path / "peptide.pdb").read_text().splitlines() if line.startswith("ATOM")]
    atoms = [line for line in methanol.splitlines() if line.startswith("HETATM")]
    moved = [f"{line[:30]}{float(line[30:38]) + 8:8.3f}{line[38:]}" for line in atoms]
    bonds = ["CONECT   14   15   16   17   18", "CONECT   18   14   19"]
    numbered = [f"{line[:6]}{number:5d}{line[11:21]}B{line[22:]}" for number, line in enumerate(moved, start=14)]
    (tmp_path / "both.pdb").write_text(
        "\n".join([*peptide, "TER      13      NME A   2", *numbered, *bonds, "END", ""])
    )
    with pytest.raises(
        InputError, match=r"system\.cores\.0\.atoms: a core inside the QM region was expected \(got atom 4"
    ):
        check(path)
