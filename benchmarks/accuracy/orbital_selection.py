"""Orbitals that Serenity selects along a path, and this program's own: ``python benchmarks/accuracy/orbital_selection.py``.

The reference numbers are those of Serenity 1.6.3 (PyPI ``qcserenity``, in an environment of its own): PBE/def2-SVP without
density fitting, grid accuracy 4; ``ScfTask`` and ``LocalizationTask`` (IBO, ``splitValenceAndCore``) of every structure, then
``GeneralizedDOSTask`` with populations ``IAOSHELL``, ``usePiBias`` false, and the five thresholds as both
``similarityLocThreshold`` and ``similarityKinEnergyThreshold``. It prints the number of orbitals of each subsystem; summed up to
a threshold they are those selected there.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.direct_selection import compare
from aiida_hqe.embedding.environment import solve_environment
from aiida_hqe.embedding.level import Environment
from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.units import HARTREE

THRESHOLDS = (0.2, 0.1, 0.05, 0.02, 0.01)
"""Of the kinetic energy (hartree) and of the location (fraction of an orbital) alike."""

ENVIRONMENT = Environment(xc="pbe", basis="def2-svp", grid_level=3)


@dataclasses.dataclass(frozen=True)
class Path:
    """Structures, and how many orbitals Serenity selects at each threshold."""

    frames: Frames
    counts: list[int]


def structures(numbers: list[int], *positions: Floats) -> Frames:
    """Neutral closed shells."""
    return Frames(Frame(numbers=numbers, positions=each, charge=0, spin=0) for each in positions)


def ethane(stretch: float) -> Floats:
    """Staggered ethane, its C-C bond longer by `stretch` (angstrom)."""
    angles = np.radians([0, 120, 240, 60, 180, 300])
    hydrogens = np.array([1.018 * np.cos(angles), 1.018 * np.sin(angles), np.repeat([1.160, -1.160], 3)]).T
    positions = np.vstack([[[0.0, 0.0, 0.765], [0.0, 0.0, -0.765]], hydrogens])
    positions[[0, 2, 3, 4], 2] += stretch
    return positions


def ethene(twist: float) -> Floats:
    """Ethene, one CH2 group turned by `twist` (degrees)."""
    angle = np.radians(twist)
    turned = [0.923 * np.cos(angle), 0.923 * np.sin(angle)]
    return np.array(
        [
            [0.0, 0.0, 0.665], [0.0, 0.0, -0.665],
            [*turned, 1.235], [-turned[0], -turned[1], 1.235], [0.923, 0.0, -1.235], [-0.923, 0.0, -1.235],
        ]
    )  # fmt: skip


def methanol(factor: float) -> Floats:
    """Methanol, its O-H bond longer by a factor."""
    positions = np.array(
        [
            [-0.0467, 0.6634, 0.0], [-0.0467, -0.7580, 0.0], [-1.0870, 0.9731, 0.0],
            [0.4359, 1.0693, 0.8900], [0.4359, 1.0693, -0.8900], [0.8630, -1.0690, 0.0],
        ]
    )  # fmt: skip
    positions[5] = positions[1] + factor * (positions[5] - positions[1])
    return positions


PATHS = {
    "ethane, C-C by 0.3 angstrom": Path(structures([6, 6, *[1] * 6], ethane(0.0), ethane(0.3)), [1, 1, 1, 7, 7]),
    "ethene, turned by 60 degrees": Path(structures([6, 6, *[1] * 4], ethene(0.0), ethene(60.0)), [0, 0, 0, 1, 1]),
    "methanol, O-H by 15 and 30 %": Path(
        structures([6, 8, *[1] * 4], methanol(1.0), methanol(1.15), methanol(1.3)), [2, 2, 2, 3, 5]
    ),
}
"""Paths and the numbers of Serenity by name."""


def counts(frames: Frames) -> list[int]:
    """How many orbitals are selected here at each threshold."""
    (changes,) = compare([solve_environment(frame, ENVIRONMENT) for frame in frames])
    return [int((changes.score(tau * HARTREE, tau) > 1).sum()) for tau in THRESHOLDS]


def main() -> None:
    """Print the orbitals selected at each threshold by both programs."""
    print(f"{'path':32}{'program':>10}" + "".join(f"{tau:>6}" for tau in THRESHOLDS))
    for name, path in PATHS.items():
        for program, found in (("Serenity", path.counts), ("here", counts(path.frames))):
            print(f"{name:32}{program:>10}" + "".join(f"{count:>6}" for count in found))


if __name__ == "__main__":
    main()
