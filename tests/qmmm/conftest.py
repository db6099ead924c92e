from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiida_hqe.campaign
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build

TEMPLATES = Path(aiida_hqe.campaign.__file__).parent / "templates"
METHANOL = {
    "topology": "methanol.pdb",
    "forcefield": ["methanol.xml", "tip3p.xml"],
    "solvate": {"model": "tip3p", "box": "16 angstrom"},
    "qm": {"residues": ["MOH"]},
    "cores": [{"atoms": [4, 5]}],
    "charge": 0,
    "cutoff": "6 angstrom",
    "switch_width": "1.5 angstrom",
}


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
