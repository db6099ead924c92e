"""Embedded energies of programs that nobody here wrote; ``benchmarks/accuracy/embedding_oracles.py`` says how they were made."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy" / "embedding_oracles.py"


def load():
    spec = importlib.util.spec_from_file_location("embedding_oracles", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ORACLES = load().ORACLES

COMPARED = [name for name in ORACLES if "published" not in name]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
def test_energies_of_other_programs_are_reproduced(name):
    oracle = ORACLES[name]
    assert load().reproduce(oracle) == pytest.approx(oracle.value, abs=oracle.tolerance)


def test_published_energy_of_nbed_is_reproduced():
    oracle = ORACLES["nbed water, published"]
    assert load().reproduce(oracle) == pytest.approx(oracle.value, abs=oracle.tolerance)
