"""Units: every one converts, none may be missing or of another dimension, and what is written reads back exactly."""

from __future__ import annotations

import math

import ase.units
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from aiida_hqe import units
from aiida_hqe.settings import Settings
from aiida_hqe.units import format_quantity, parse_quantity

TYPES = {
    "length": units.Length, "energy": units.Energy, "force": units.Force, "time": units.Time,
    "temperature": units.Temperature, "rate": units.Rate, "duration": units.Duration, "pressure": units.Pressure,
    "concentration": units.Concentration, "memory": units.Memory,
}  # fmt: skip

VALUES = [
    ("length", "1 angstrom", 1.0),
    ("length", "1 A", 1.0),
    ("length", "1.4 nm", 14.0),
    ("length", "1 bohr", ase.units.Bohr),
    ("length", "150 pm", 1.5),
    ("energy", "1 eV", 1.0),
    ("energy", "1 meV", 1e-3),
    ("energy", "1 hartree", ase.units.Hartree),
    ("energy", "1 Eh", ase.units.Hartree),
    ("energy", "1 mEh", 1e-3 * ase.units.Hartree),
    ("energy", "1 kJ/mol", ase.units.kJ / ase.units.mol),
    ("energy", "1 kcal/mol", ase.units.kcal / ase.units.mol),
    ("force", "1 eV/angstrom", 1.0),
    ("force", "50 meV/angstrom", 0.05),
    ("force", "1 eV/A", 1.0),
    ("force", "1 meV/A", 1e-3),
    ("force", "1 hartree/bohr", ase.units.Hartree / ase.units.Bohr),
    ("force", "1 Eh/bohr", ase.units.Hartree / ase.units.Bohr),
    ("force", "1 kJ/mol/nm", ase.units.kJ / ase.units.mol / ase.units.nm),
    ("force", "1 kcal/mol/angstrom", ase.units.kcal / ase.units.mol),
    ("time", "0.5 fs", 0.5),
    ("time", "1 ps", 1e3),
    ("time", "1 ns", 1e6),
    ("temperature", "300 K", 300.0),
    ("rate", "1 1/ps", 1e-3),
    ("rate", "2 1/fs", 2.0),
    ("duration", "30 s", 30.0),
    ("duration", "2 min", 120.0),
    ("duration", "2 h", 7200.0),
    ("duration", "1 d", 86400.0),
    ("pressure", "1 bar", 1.0),
    ("pressure", "1 atm", 1.01325),
    ("concentration", "0.15 molar", 0.15),
    ("concentration", "0.15 M", 0.15),
    ("concentration", "150 mM", 0.15),
    ("memory", "500 MB", 500.0),
    ("memory", "4 GB", 4000.0),
]


@pytest.mark.parametrize(("dimension", "text", "value"), VALUES)
def test_every_unit_converts(dimension: str, text: str, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=2e-8)  # ASE's constants are CODATA 2014


def test_the_table_above_has_every_unit() -> None:
    tested = {(dimension, text.split(maxsplit=1)[1]) for dimension, text, _ in VALUES}
    assert tested == {(dimension, name) for dimension, names in units._UNITS.items() for name in names}


def test_derived_constants_are_consistent() -> None:
    assert pytest.approx(14.399645, rel=1e-7) == units.COULOMB
    assert pytest.approx(51.422067, rel=1e-7) == units.HARTREE_PER_BOHR
    assert pytest.approx(1 / 38.681740 / 300, rel=1e-6) == units.BOLTZMANN


@pytest.mark.parametrize("text", ["1.4nm", " 1.4 nm ", "+1.4e0 nm", "14e-1 nm", "1.4  nm"])
def test_spaces_and_exponents_do_not_matter(text: str) -> None:
    assert parse_quantity(text, "length") == 14.0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.4, "has no unit"),
        (1, "has no unit"),
        ("1.4", "has no unit"),
        ("1.4 eV", "a length in one of angstrom, A, nm, bohr, pm"),
        ("1.4 NM", "a length in one of"),
        ("nm", "a length with its unit"),
        ("", "a length with its unit"),
        ("one nm", "a length with its unit"),
        ("1,4 nm", "a length with a decimal point"),
        ("nan nm", "a length with its unit"),
        ("1e999 nm", "a finite length"),
        ("1e308 nm", "a finite length"),
        (True, "a length with its unit"),
        (None, "a length with its unit"),
        ([1.4, "nm"], "a length with its unit"),
    ],
)
def test_a_quantity_without_its_unit_is_refused(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_quantity(value, "length")
    assert "(got " in str(caught.value)


@settings(deadline=None, derandomize=True, database=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False), dimension=st.sampled_from(sorted(TYPES)))
def test_what_is_written_reads_back_exactly(value: float, dimension: str) -> None:
    adapter: TypeAdapter[float] = TypeAdapter(TYPES[dimension])
    assert adapter.validate_python(format_quantity(value, dimension)) == value
    text = adapter.dump_python(value)
    assert isinstance(text, str)
    assert math.copysign(1, adapter.validate_python(text)) == math.copysign(1, value)


def test_settings_forbid_unknown_keys_and_changes() -> None:
    class Cutoff(Settings):
        cutoff: units.Length

    settings = Cutoff.model_validate({"cutoff": "1.4 nm"})
    assert Cutoff.model_validate(settings.model_dump(mode="json")) == settings
    for wrong in ({"cutoff": "1.4 nm", "cutof": 1}, {"cutoff": 14.0}, {}):
        with pytest.raises(ValidationError):
            Cutoff.model_validate(wrong)
    with pytest.raises(ValidationError):
        settings.cutoff = 3.0
