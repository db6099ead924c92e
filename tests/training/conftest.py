"""Labelled frames of methanol in water."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiida_hqe.frames import Frames


@pytest.fixture(scope="session")
def methanol() -> Frames:
    """15 frames of methanol in TIP3P water, PBE/def2-SVP in the charges and CCSD(T) energies."""
    return Frames.read(Path(__file__).parent.parent / "data" / "methanol_water.h5")


@pytest.fixture(scope="session")
def environment(methanol: Frames) -> Frames:
    """The same without the target level."""
    return Frames(frame.replace(energy=None) for frame in methanol)
