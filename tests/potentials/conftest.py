"""Frames of methanol in water, and committees of untrained members: what holds for their mechanics holds for trained ones."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings

SETTINGS = PotentialSettings(features=8, interactions=2, radial_functions=8)


@functools.cache
def untrained(
    members: int, learn: str = "difference", settings: PotentialSettings = SETTINGS, charge: int = 0, spin: int = 0
) -> Committee:
    """Members with random weights and references at both levels; kept, for a graph takes a second to record."""
    made = []
    for number in range(members):
        networks = {}
        for index, level in enumerate(("environment", "target")):
            state = dict(build(settings, charge, seed=10 * number + index).state_dict())
            if level == "target" and learn == "difference":
                state = {"weight": torch.linspace(-0.3, 0.3, settings.features) * (number + 1)}
            networks[level] = Network(state, {1: -10.0 + number, 6: -1000.0, 8: -2000.0 - index}, False)
        made.append(Member(number, 5, networks, {"frames": 10}))
    return Committee(made, settings=settings, learn=learn, elements=[1, 6, 8], charge=charge, spin=spin)


@pytest.fixture(scope="session")
def methanol() -> Frames:
    """15 frames of methanol in TIP3P water, PBE/def2-SVP in the charges and CCSD(T) energies."""
    return Frames.read(Path(__file__).parent.parent / "data" / "methanol_water.h5")


@pytest.fixture(scope="session")
def frame(methanol: Frames) -> Frame:
    """One of them with its nearest 30 charges, to keep finite differences cheap."""
    return _near(methanol[0], 30)


def _near(whole: Frame, count: int) -> Frame:
    distances = np.linalg.norm(whole.mm_positions[:, None] - whole.positions[None], axis=-1).min(axis=1)
    chosen = np.sort(np.argsort(distances)[:count])
    return Frame(
        numbers=whole.numbers,
        positions=whole.positions,
        charge=0,
        spin=0,
        mm_numbers=whole.mm_numbers[chosen],
        mm_positions=whole.mm_positions[chosen],
        mm_charges=whole.mm_charges[chosen],
    )


@pytest.fixture(scope="session")
def committee() -> Committee:
    """Three members, the target level a difference."""
    return untrained(3)
