from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_systems import TEMPLATE, with_core

from aiida_hqe.dynamics.prepare import prepare
from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build
from aiida_hqe.units import COULOMB


@dataclasses.dataclass
class Answer:
    energy: float
    forces: Floats
    mm_forces: Floats
    charge_gradient: Floats
    disagreement: float
    energy_disagreement: float
    member_deviations: Floats


class Springs:
    """A driver with known analytic derivatives: springs between all QM atoms, and fixed charges on them."""

    charges = np.array([0.145, 0.040, 0.040, 0.040, -0.683, 0.418])

    def __init__(self, reference: Floats, stiffness: float = 15.0, disagreement: float = 0.05) -> None:
        self.lengths = _distances(reference)
        self.stiffness = stiffness
        self.disagreement = disagreement
        self.calls = 0

    def evaluate(self, frame: Frame) -> Answer:
        self.calls += 1
        distances = _distances(frame.positions)
        stretch = distances - self.lengths
        vectors = frame.positions[:, None] - frame.positions[None]
        springs = -(self.stiffness * stretch / distances)[:, :, None] * vectors
        vectors = frame.positions[:, None] - frame.mm_positions[None]
        separations = np.linalg.norm(vectors, axis=-1)
        potential = COULOMB * (self.charges[:, None] / separations).sum(axis=0)
        pulls = COULOMB * (self.charges[:, None] * frame.mm_charges / separations**3)[:, :, None] * vectors
        return Answer(
            energy=float(0.25 * self.stiffness * (stretch**2).sum() + potential @ frame.mm_charges),
            forces=springs.sum(axis=1) + pulls.sum(axis=1),
            mm_forces=-pulls.sum(axis=0),
            charge_gradient=potential,
            disagreement=self.disagreement,
            energy_disagreement=0.01,
            member_deviations=np.array([0.04, 0.06]),
        )


def _distances(positions: Floats) -> Floats:
    distances: Floats = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    return distances + np.eye(len(positions))


@pytest.fixture(scope="session")
def sampling() -> SamplingSettings:
    """Tight settings on the deterministic double-precision platform, for a small box."""
    return SamplingSettings(
        nonbonded_cutoff="7 angstrom",
        ewald_tolerance=1e-5,
        equilibration_steps=100,
        platform="CPU",
    )


@pytest.fixture(scope="session")
def methanol(sampling: SamplingSettings) -> Assembly:
    """Equilibrated methanol in a small box of water."""
    settings = SystemSettings(**with_core(16, 5.5))
    return prepare(build(settings, TEMPLATE), sampling, seed=1)


@pytest.fixture
def springs(methanol: Assembly) -> Springs:
    """Driver of the QM region of `methanol`."""
    return Springs(methanol.frame().positions)
