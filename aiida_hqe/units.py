"""The only place where units convert: eV, angstrom, fs, K, e inside; CODATA 2018 constants.

In documents (campaign, level, system files) a number that has a unit must carry one. The annotated types below
parse such a string to a float in the internal unit, and serialize it back with that unit, so that a dumped model
validates again to the same value.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

HARTREE = 27.211386245988
"""One hartree in eV (CODATA 2018)."""

BOHR = 0.529177210903
"""One bohr in angstrom (CODATA 2018)."""

BOLTZMANN = 8.617333262e-5
"""Boltzmann constant in eV/K (exact SI value, rounded)."""

KJ_PER_MOL = 0.010364269656262175
"""One kJ/mol in eV (exact SI values of e and N_A)."""

KCAL_PER_MOL = 4.184 * KJ_PER_MOL
"""One kcal/mol in eV."""

COULOMB = HARTREE * BOHR
"""e^2 / (4 pi eps0) in eV angstrom: the energy of two unit charges one angstrom apart."""

NM = 10.0
"""One nanometre in angstrom."""

HARTREE_PER_BOHR = HARTREE / BOHR
"""One atomic unit of force in eV/angstrom."""

_UNITS: dict[str, dict[str, float]] = {
    "length": {"angstrom": 1.0, "A": 1.0, "nm": NM, "bohr": BOHR, "pm": 0.01},
    "energy": {
        "eV": 1.0, "meV": 1e-3, "hartree": HARTREE, "Eh": HARTREE, "mEh": 1e-3 * HARTREE,
        "kJ/mol": KJ_PER_MOL, "kcal/mol": KCAL_PER_MOL,
    },
    "force": {
        "eV/angstrom": 1.0, "meV/angstrom": 1e-3, "eV/A": 1.0, "meV/A": 1e-3, "hartree/bohr": HARTREE_PER_BOHR,
        "Eh/bohr": HARTREE_PER_BOHR, "kJ/mol/nm": KJ_PER_MOL / NM, "kcal/mol/angstrom": KCAL_PER_MOL,
    },
    "time": {"fs": 1.0, "ps": 1e3, "ns": 1e6},
    "temperature": {"K": 1.0},
    "rate": {"1/ps": 1e-3, "1/fs": 1.0},
    "duration": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    "pressure": {"bar": 1.0, "atm": 1.01325},
    "concentration": {"molar": 1.0, "M": 1.0, "mM": 1e-3},
    "memory": {"MB": 1.0, "GB": 1000.0},
}  # fmt: skip

_INTERNAL = {
    dimension: next(name for name, factor in units.items() if factor == 1.0) for dimension, units in _UNITS.items()
}

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*")


def parse_quantity(value: Any, dimension: str) -> float:
    """Value of ``"1.4 nm"`` in the internal unit of its dimension.

    Parameters
    ----------
    value
        A string of a number and a unit.
    dimension
        One of the keys of the unit table: ``length``, ``energy``, ``force``, ``time``, ...

    Returns
    -------
    float
        In angstrom, eV, eV/angstrom, fs, K, 1/fs, s, bar, mol/l or MB.

    Raises
    ------
    ValueError
        No number, no unit, or a unit of another dimension (pydantic turns it into a located error).
    """
    known = _UNITS[dimension]
    example = f"such as '{1.0:g} {next(iter(known))}'"
    matched = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{_article(dimension)} with its unit, {example} (got {value!r}, which has no unit)")
        raise ValueError(f"{_article(dimension)} with its unit, {example} (got {value!r})")
    number, unit = float(matched[1]), matched[2]
    if unit is None:
        raise ValueError(f"{_article(dimension)} with its unit, {example} (got {value!r}, which has no unit)")
    if unit.startswith(","):
        raise ValueError(f"{_article(dimension)} with a decimal point (got {value!r}, which has a comma)")
    if unit not in known:
        raise ValueError(f"{_article(dimension)} in one of {', '.join(known)} (got {value!r})")
    converted = number * known[unit]
    if not math.isfinite(converted):
        raise ValueError(f"a finite {dimension} (got {value!r})")
    return converted


def in_unit_of(value: float, text: Any) -> str:
    """A value in the internal unit, as a text in the unit that `text`, a number with its unit, is written in."""
    matched = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    unit = matched[2] if matched else None
    factor = next((units[unit] for units in _UNITS.values() if unit in units), 1.0)
    return f"{value:.10g}" if unit is None else f"{value / factor:.10g} {unit}"


def _article(dimension: str) -> str:
    return f"an {dimension}" if dimension[0] in "aeiou" else f"a {dimension}"


def format_quantity(value: float, dimension: str) -> str:
    """The string that :func:`parse_quantity` reads back to exactly `value`."""
    return f"{value!r} {_INTERNAL[dimension]}"


def _quantity(dimension: str) -> tuple[BeforeValidator, PlainSerializer]:
    return (
        BeforeValidator(lambda value: parse_quantity(value, dimension)),
        PlainSerializer(lambda value: format_quantity(value, dimension), return_type=str),
    )


Length = Annotated[float, *_quantity("length")]
Energy = Annotated[float, *_quantity("energy")]
Force = Annotated[float, *_quantity("force")]
Time = Annotated[float, *_quantity("time")]
Temperature = Annotated[float, *_quantity("temperature")]
Rate = Annotated[float, *_quantity("rate")]
Duration = Annotated[float, *_quantity("duration")]
Pressure = Annotated[float, *_quantity("pressure")]
Concentration = Annotated[float, *_quantity("concentration")]
Memory = Annotated[float, *_quantity("memory")]
