"""A whole campaign at a cheap but real level: methanol in a small box, MP2 in PBE, two members."""

from __future__ import annotations

from typing import Any

from small_systems import with_core

SYSTEM = with_core(17, 6)

CHEAP: dict[str, Any] = {
    "name": "cheap",
    "seed": 7,
    "levels": {
        "environment": {"xc": "pbe", "basis": "sto-3g", "grid_level": 0, "density_fit": False},
        "core": {"method": "mp2", "frozen_core": False, "density_fit": False},
        "embedding": {"core_orbitals": [5]},
        "forces": "none",
    },
    "potential": {"features": 8, "interactions": 1, "radial_functions": 8},
    "training": {"members": 2, "epochs": 400, "warm_epochs": 200, "target_epochs": 10, "held_out": 0.4},
    "sampling": {
        "initial_frames": 10,
        "initial_steps": 200,
        "equilibration_steps": 100,
        "steps": 20,
        "interval": 4,
        "initial_temperature": "300 K",
        "nonbonded_cutoff": "7 angstrom",
        "trust_factor": 1000.0,
        "platform": "CPU",
    },
    "selection": {"target_force_error": "20 meV/angstrom", "confidence": 0.6, "batch": 3},
    "stop": {"iterations": 2, "uncertain_fraction": 0.01},
    "resources": {"parallel_jobs": 2},
}
