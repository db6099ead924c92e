"""Label one frame in plain Python, with neither profile nor daemon: water beside a point charge.

Shows what a label contains, and that the force on the point charge is the derivative of the environment energy.
"""

from __future__ import annotations

from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import CoreMethod, Embedding, Environment, Level
from aiida_hqe.frames import Frame

LEVEL = Level(
    environment=Environment(xc="lda,vwn", basis="sto-3g", grid_level=3),
    core=CoreMethod(method="mp2"),
    embedding=Embedding(core_orbitals=[4]),
)
STEP = 0.01
"""Displacement of the finite difference, angstrom."""


def frame(z: float) -> Frame:
    """Water with a charge of -0.8 e at height `z` (angstrom) above its oxygen; the core is the O-H end."""
    return Frame(
        numbers=[8, 1, 1],
        positions=[[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]],
        charge=0,
        spin=0,
        core=[1, 1, 0],
        mm_numbers=[8],
        mm_positions=[[0.0, 0.0, z]],
        mm_charges=[-0.8],
    )


def main() -> None:
    """Print the label, and both ways to the force on the charge."""
    found = label(frame(3.0), LEVEL)
    print(f"environment {found.environment_energy:.6f} eV, with its core {found.energy:.6f} eV")
    for core in found.cores:
        print(f"core {core.core}: {core.orbitals} orbitals, gap {core.gap:.2f}, MP2 {core.correlation_energy:.6f} eV")
    above, below = (label(frame(3.0 + shift), LEVEL).environment_energy for shift in (STEP, -STEP))
    numerical = -(above - below) / (2 * STEP)
    print(
        f"force on the charge: analytic {found.environment_mm_forces[0][2]:.6f}, numerical {numerical:.6f} eV/angstrom"
    )


if __name__ == "__main__":
    main()
