"""The embedded energy approaches that of the whole region; ``benchmarks/accuracy/core_convergence.py`` made what is stored."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from aiida_hqe.units import HARTREE, KCAL_PER_MOL

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "core_convergence.py"
STORED = json.loads(SCRIPT.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("core_convergence", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("geometry", sorted(STORED["ethanol"]))
def test_stored_energies_approach_the_whole_as_the_core_grows(geometry):
    row = STORED["ethanol"][geometry]
    errors = [abs(row[name] - row["CCSD(T)"]) for name in ("PBE", "OH, full", "CH2-OH, full", "all, full")]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


def test_stored_relative_energies_are_chemically_accurate_with_less_than_half_the_region(script):
    """Five of ethanol's 13 occupied orbitals; the stretch is one that PBE misses by more than 3 kcal/mol."""
    atoms, orbitals = script.CORES["OH"]
    assert atoms < len(script.ETHANOL) / 2
    assert orbitals < script.CORES["all"][1] / 2
    for row in script.relative(STORED["ethanol"]).values():
        assert abs(row["OH, full"] - row["CCSD(T)"]) < 1.0
    stretch = script.relative(STORED["ethanol"])["O-H stretched"]
    assert abs(stretch["PBE"] - stretch["CCSD(T)"]) > 3.0


def test_the_stored_hydrogen_bond_is_chemically_accurate_with_less_than_half_the_region(script):
    """Five of 15 atoms, ten of 21 occupied orbitals; PBE misses the hydrogen bond by 1.0 kcal/mol."""
    (row,) = script.relative(STORED["propanol"]).values()
    errors = {name: abs(energy - row["CCSD(T)"]) for name, energy in row.items()}
    assert errors["core, full"] < 0.5 * errors["PBE"]
    assert all(error < 1.0 for name, error in errors.items() if name.startswith("core"))


@pytest.mark.slow
def test_a_bond_stretch_is_chemically_accurate_with_less_than_half_of_the_region_in_the_core(script):
    """Made anew with two shells of virtual orbitals, against the stored CCSD(T) of the whole molecule."""
    energies = {}
    for name, positions in (("anti", script.ANTI), ("O-H stretched", script.STRETCHED)):
        region = script.frame(script.ETHANOL, positions, 2)
        state = script.environment(region, "def2-svp")
        energies[name] = script.embedded(region, "def2-svp", 5, {"shells": 2}, state)
        assert energies[name] == pytest.approx(STORED["ethanol"][name]["OH, 2 shells"], abs=1e-6)
    found = (energies["O-H stretched"] - energies["anti"]) * HARTREE / KCAL_PER_MOL
    assert abs(found - script.relative(STORED["ethanol"])["O-H stretched"]["CCSD(T)"]) < 1.0
