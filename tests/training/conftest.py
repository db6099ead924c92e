"""Labelled frames of methanol in water, and a small network that trains in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiida_hqe.frames import Frames
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training.settings import TrainingSettings

SMALL = PotentialSettings(features=8, interactions=1, radial_functions=10, cutoff="4 angstrom")
SHORT = TrainingSettings(epochs=60, warm_epochs=20, target_epochs=30, batch_size=6, members=2)


@pytest.fixture(scope="session")
def methanol() -> Frames:
    """15 frames of methanol in TIP3P water, PBE/def2-SVP in the charges and CCSD(T) energies."""
    return Frames.read(Path(__file__).parent.parent / "data" / "methanol_water.h5")


@pytest.fixture(scope="session")
def environment(methanol: Frames) -> Frames:
    """The same without the target level."""
    return Frames(frame.replace(energy=None) for frame in methanol)
