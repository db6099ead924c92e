from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_systems import TEMPLATES, with_core

from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build

METHANOL = with_core(16, 6)

SERINE: dict[str, Any] = {
    "topology": "peptide.pdb",
    "forcefield": ["amber14/protein.ff14SB.xml", "amber14/tip3p.xml"],
    "qm": {"atoms": [10, 11, 12, 13, 14]},
    "cores": [{"atoms": [13, 14]}],
    "charge": 0,
    "cutoff": "7 angstrom",
    "switch_width": "1.5 angstrom",
}


@pytest.fixture(scope="session")
def build_serine() -> Callable[..., Assembly]:
    """Build blocked serine, its side chain QM, without water, with some entries changed."""

    def make(**changes: Any) -> Assembly:
        return build(SystemSettings(**(SERINE | changes)), TEMPLATES / "peptide")

    return make


@pytest.fixture(scope="session")
def serine(build_serine: Callable[..., Assembly]) -> Assembly:
    """Blocked serine in a small box of water, the bond CA - CB cut."""
    return build_serine(solvate={"box": "20 angstrom"})


@pytest.fixture(scope="session")
def build_methanol() -> Callable[..., Assembly]:
    """Build the methanol template with some entries changed; ``None`` removes one."""

    def make(directory: Path = TEMPLATES / "methanol-water", **changes: Any) -> Assembly:
        entries = {key: value for key, value in (METHANOL | changes).items() if value is not None}
        return build(SystemSettings(**entries), directory)

    return make


@pytest.fixture(scope="session")
def methanol(build_methanol: Callable[..., Assembly]) -> Assembly:
    """Methanol in a small box of water: 6 QM atoms, cutoff 6 angstrom switched over 1.5."""
    return build_methanol()
