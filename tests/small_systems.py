"""Small systems that tests of all rooms set up: a water, and the methanol of the template in a small box of water."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import aiida_hqe.campaign

TEMPLATES = Path(aiida_hqe.campaign.__file__).parent / "templates"
TEMPLATE = TEMPLATES / "methanol-water"

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
"""Positions of O, H and H, angstrom."""


def methanol(box: float, cutoff: float, **others: Any) -> dict[str, Any]:
    """Section `system`: the template's methanol in TIP3P water, edge of the box and cutoff in angstrom, and other entries."""
    return {
        "topology": "methanol.pdb",
        "forcefield": ["methanol.xml", "tip3p.xml"],
        "solvate": {"model": "tip3p", "box": f"{box:g} angstrom"},
        "qm": {"residues": ["MOH"]},
        "charge": 0,
        "cutoff": f"{cutoff:g} angstrom",
        **others,
    }


def with_core(box: float, cutoff: float, **others: Any) -> dict[str, Any]:
    """The same with a quantum core, the O-H end."""
    return methanol(box, cutoff, cores=[{"atoms": [4, 5]}], switch_width="1.5 angstrom", **others)


def system_file(system: Mapping[str, Any], **sampling: Any) -> str:
    """Text of a file for `aiida-hqe sample`: the system in its first line, `sampling` in the second."""
    return f"system: {json.dumps(system)}\nsampling: {json.dumps(sampling)}\n"
