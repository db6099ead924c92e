"""How the embedded CCSD(T) energy approaches that of the whole region: ``python benchmarks/accuracy/core_convergence.py``.

Error against CCSD(T) of everything (PySCF's own canonical one, frozen core) as the core grows and as shells of virtual orbitals
are added, for ethanol; and the error of relative energies: ethanol's conformers, a stretch of its O-H bond, and the hydrogen
bond of 1-propanol to water. PBE is the environment, SPADE the partition, `linear` the functional. The geometries are rigid
models: ethanol of the G2 set, its hydroxyl hydrogen turned by 119 degrees or pulled out by 0.3 angstrom; 1-propanol made from it.

The results last found lie beside this script in ``core_convergence.json``; a name as argument (``ethanol``, ``propanol``) runs
one part and rewrites it there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyscf import cc, scf

from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.label import core_labels
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.molecule import build_molecule
from aiida_hqe.frames import Frame
from aiida_hqe.units import HARTREE, KCAL_PER_MOL

RESULTS = Path(__file__).with_suffix(".json")

ETHANOL = [8, 1, 6, 1, 1, 6, 1, 1, 1]
ANTI = [
    [-1.1901, -0.2277, 0.0],
    [-1.9466, 0.3815, 0.0],
    [0.0, 0.5595, 0.0],
    [0.0426, 1.2075, 0.8869],
    [0.0426, 1.2075, -0.8869],
    [1.1682, -0.4004, 0.0],
    [1.1286, -1.0372, 0.8859],
    [1.1286, -1.0372, -0.8859],
    [2.1159, 0.1448, 0.0],
]
GAUCHE = [ANTI[0], [-1.1885, -0.7646, -0.8094], *ANTI[2:]]
STRETCHED = [ANTI[0], [-2.1803, 0.5697, 0.0], *ANTI[2:]]
PROPANOL = [8, 1, 6, 1, 1, 6, 1, 1, 6, 1, 1, 1]
PROPYL = [*ANTI[:8], [2.4918, 0.3611, 0.0], [3.3385, -0.3317, 0.0], [2.5736, 0.998, 0.8857], [2.5736, 0.998, -0.8857]]
WATER = [[-3.4488, 1.5912, 0.0], [-4.0347, 1.6177, 0.7575], [-4.0347, 1.6177, -0.7575]]

CORES = {"OH": (2, 5), "CH2-OH": (5, 8), "all": (9, 13)}
"""Cores of ethanol: number of atoms (the first ones) and of occupied orbitals."""

VIRTUALS: list[tuple[str, object]] = [(f"{n} shells", {"shells": n}) for n in (1, 2, 3)] + [("full", "full")]


def frame(numbers: list[int], positions: Sequence[Sequence[float]], n_core: int) -> Frame:
    """A neutral region whose first `n_core` atoms are the core."""
    core = [1] * n_core + [0] * (len(numbers) - n_core)
    return Frame(numbers=numbers, positions=positions, charge=0, spin=0, core=core)


def level(basis: str, virtuals: object, orbitals: int) -> Level:
    """PBE and frozen-core CCSD(T)."""
    return Level.model_validate(
        {
            "environment": {"basis": basis, "grid_level": 3},
            "core": {"method": "ccsd(t)", "frozen_core": True, "virtuals": virtuals},
            "embedding": {"core_orbitals": [orbitals]},
        }
    )


def embedded(region: Frame, basis: str, orbitals: int, virtuals: object, state: EnvironmentState) -> float:
    """Energy of the region with its embedded core (hartree)."""
    (core,) = core_labels(region, level(basis, virtuals, orbitals), state)
    return state.energy + core.energy / HARTREE


def environment(region: Frame, basis: str) -> EnvironmentState:
    """PBE of the region."""
    return solve_environment(region, level(basis, "full", 1).environment)


def canonical(region: Frame, basis: str) -> float:
    """CCSD(T) of everything by PySCF alone (hartree)."""
    mf = scf.RHF(build_molecule(region, basis))
    mf.conv_tol = 1e-11
    mf.kernel()
    solver = cc.CCSD(mf, frozen=int(np.sum(region.numbers > 2)))
    solver.kernel()
    return float(solver.e_tot + solver.ccsd_t())


def ethanol() -> dict[str, dict[str, float]]:
    """Total energies (hartree) of three geometries: CCSD(T), PBE and every core; all virtual spaces at the first geometry."""
    found: dict[str, dict[str, float]] = {}
    for name, positions in (("anti", ANTI), ("gauche", GAUCHE), ("O-H stretched", STRETCHED)):
        whole = frame(ETHANOL, positions, len(ETHANOL))
        state = environment(whole, "def2-svp")
        row = found[name] = {"CCSD(T)": canonical(whole, "def2-svp"), "PBE": state.energy}
        for core, (atoms, orbitals) in CORES.items():
            region = frame(ETHANOL, positions, atoms)
            for label, virtuals in VIRTUALS if core != "all" else VIRTUALS[-1:]:
                row[f"{core}, {label}"] = embedded(region, "def2-svp", orbitals, virtuals, state)
        show(name, row)
    return found


def propanol() -> dict[str, dict[str, float]]:
    """Total energies (hartree) of the complex and of its parts; the core is O-H and, in the complex, the water too."""
    parts = {
        "complex": ([*WATER, *PROPYL], [8, 1, 1, *PROPANOL], 5, 10),
        "1-propanol": (PROPYL, PROPANOL, 2, 5),
        "water": (WATER, [8, 1, 1], 3, 5),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (positions, numbers, atoms, orbitals) in parts.items():
        region = frame(numbers, positions, atoms)
        state = environment(region, "6-31g*")
        row = found[name] = {"PBE": state.energy}
        for label, virtuals in VIRTUALS:
            row[f"core, {label}"] = embedded(region, "6-31g*", orbitals, virtuals, state)
        row["CCSD(T)"] = canonical(region, "6-31g*")
        show(name, row)
    return found


def relative(energies: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Relative energies in kcal/mol by method."""
    if "anti" in energies:
        pairs = {name: {name: 1, "anti": -1} for name in energies if name != "anti"}
    else:
        pairs = {"hydrogen bond": {"complex": 1, "1-propanol": -1, "water": -1}}
    unit = HARTREE / KCAL_PER_MOL
    methods = energies[next(iter(energies))]
    return {
        pair: {
            method: unit * sum(factor * energies[name][method] for name, factor in terms.items()) for method in methods
        }
        for pair, terms in pairs.items()
    }


def show(name: str, row: dict[str, float], factor: float = 1e3) -> None:
    """Print a row of energies and their errors against CCSD(T)."""
    print(f"{name}: CCSD(T) {row['CCSD(T)']:.6f}", flush=True)
    for method, energy in row.items():
        print(f"    {method:20}{energy:16.6f}{factor * (energy - row['CCSD(T)']):12.3f}", flush=True)


PARTS = {"ethanol": ethanol, "propanol": propanol}


def main() -> None:
    """Run the parts named as arguments, or all, and print and store their energies."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in sys.argv[1:] or PARTS:
        print(f"{part}: total energies (hartree), errors in millihartree")
        found[part] = PARTS[part]()
        print(f"{part}: relative energies and their errors (kcal/mol)")
        for name, row in relative(found[part]).items():
            show(name, row, 1.0)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
