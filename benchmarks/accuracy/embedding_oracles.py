"""Embedded energies of other programs, and this program's own beside them: ``python benchmarks/accuracy/embedding_oracles.py``.

How the reference values were made (each in an environment of its own, none is a dependency):

- nbed 0.0.9 on PySCF 2.14: ``NbedConfig(localization="spade", projector="mu", mu_level_shift=1e6, convergence=1e-10,
  run_ccsd_emb=True, run_virtual_localization=False)``; the correlation energy is ``e_ccsd - e_rhf``. nbed's SPADE cuts at the
  largest gap, which is 5 orbitals in both systems. The water value is published in nbed's own test suite (convergence 1e-6).
- Serenity 1.6.3 (PyPI ``qcserenity``), HF in PBE, 6-31G, no density fitting, integral threshold 1e-14, SCF to 1e-10, level shift
  1e6, grid accuracy 7 for everything with every screening threshold of the grid at zero, and PBE of XCFun both as functional
  and as non-additive functional (``customNaddXCFunc``). IBO with inner shells and valence orbitals apart, partition by best match
  of the orbitals' atoms, or by charges (-1 and +1) where methanol is cut through its C-O bond.
  Relaxed (``nonlinear`` here): ``TDEmbeddingTask``. Static: ``ScfTask`` of the whole, ``LocalizationTask``,
  ``SystemSplittingTask``, and ``FDETask`` with ``skipSCF``.
  Grids make most of the difference: from accuracy 5 to 7 Serenity's hydrogen fluoride dimer moves by 9.2e-6 hartree, while it
  moves here by less than 2e-7 from `grid_level` 4 to 9.
"""

from __future__ import annotations

import dataclasses

from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.label import core_labels
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frame
from aiida_hqe.units import HARTREE

WATER = [[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]]
NEIGHBOUR = [[0.1, 2.9, -1.115], [0.854, 2.9, -0.541], [-0.654, 2.9, -0.541]]
HYDROXYL = [[-0.0467, -0.7580, 0.0], [0.8630, -1.0690, 0.0]]
METHYL = [[-0.0467, 0.6634, 0.0], [-1.0870, 0.9731, 0.0], [0.4359, 1.0693, 0.89], [0.4359, 1.0693, -0.89]]


@dataclasses.dataclass(frozen=True)
class Oracle:
    """One value of another program (hartree), and how to reproduce it here."""

    program: str
    frame: Frame
    level: Level
    quantity: str
    value: float
    tolerance: float


def frame(numbers: list[int], positions: list[list[float]], n_core: int) -> Frame:
    """A neutral closed-shell region whose first `n_core` atoms are the core."""
    core = [1] * n_core + [0] * (len(numbers) - n_core)
    return Frame(numbers=numbers, positions=positions, charge=0, spin=0, core=core)


def level(environment: dict[str, object], method: str, **embedding: object) -> Level:
    """A level of its three parts."""
    return Level.model_validate({"environment": environment, "core": {"method": method}, "embedding": embedding})


DIMER = frame([8, 1, 1, 8, 1, 1], WATER + NEIGHBOUR, 3)
METHANOL = frame([8, 1, 6, 1, 1, 1], HYDROXYL + METHYL, 2)
PBE = {"basis": "6-31g", "grid_level": 3}
XCFUN = {"basis": "6-31g", "grid_level": 7, "xc_library": "xcfun"}
AMMONIA = frame(
    [7, 1, 1, 1, 8, 1, 1],
    [
        [0.0, 0.0, 0.0],
        [0.0, 0.94, 0.38],
        [0.81, -0.47, 0.38],
        [-0.81, -0.47, 0.38],
        [0.0, 0.0, -3.0],
        [0.0, 0.0, -2.02],
        [0.93, 0.0, -3.26],
    ],
    4,
)
FLUORIDE = frame([9, 1, 9, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.93], [0.1, 0.0, 2.72], [0.9, 0.3, 3.1]], 2)
SHIFTED = {"projector": {"level_shift": 1e6}, "core_orbitals": [5]}

ORACLES = {
    "nbed water, published": Oracle(
        "nbed",
        frame([8, 1, 1], WATER, 1),
        level({"basis": "sto-3g", "xc": "b3lyp", "grid_level": 3}, "ccsd", core_orbitals=[3]),
        "total",
        -75.1285849238916,
        2e-7,
    ),
    "nbed water dimer": Oracle(
        "nbed", DIMER, level(PBE, "ccsd", **SHIFTED), "correlation", -152.42721546015332 + 152.29373639362103, 1e-7
    ),
    "nbed methanol, cut through C-O": Oracle(
        "nbed", METHANOL, level(PBE, "ccsd", **SHIFTED), "correlation", -115.34170552417663 + 115.20503188416836, 1e-7
    ),
} | {
    f"Serenity {name}, {functional}": Oracle(
        "Serenity",
        region,
        level(XCFUN, "hf", functional=functional, partition="ibo", core_orbitals=[5]),
        "total",
        value,
        5e-6,
    )
    for name, region, values in (
        ("water dimer", DIMER, (-152.29372526344875, -152.2906048392267)),
        ("ammonia and water", AMMONIA, (-132.47614965814043, -132.47304520283268)),
        ("hydrogen fluoride dimer", FLUORIDE, (-200.3037817165908, -200.30099578526546)),
        ("methanol, cut through C-O", METHANOL, (-115.20059550608951, -115.19467748236616)),
    )
    for functional, value in zip(("nonlinear", "static"), values, strict=True)
}
"""Values of other programs by name."""


def reproduce(oracle: Oracle) -> float:
    """The same quantity from this program (hartree)."""
    state = solve_environment(oracle.frame, oracle.level.environment)
    (core,) = core_labels(oracle.frame, oracle.level, state)
    quantities = {"total": state.energy * HARTREE + core.energy, "correlation": core.correlation_energy}
    return quantities[oracle.quantity] / HARTREE


def main() -> None:
    """Print a table of both values and their difference."""
    print(f"{'oracle':44}{'quantity':>14}{'theirs':>20}{'ours':>20}{'difference':>12}")
    for name, oracle in ORACLES.items():
        ours = reproduce(oracle)
        print(f"{name:44}{oracle.quantity:>14}{oracle.value:>20.10f}{ours:>20.10f}{ours - oracle.value:>12.1e}")


if __name__ == "__main__":
    main()
