"""Frames of methanol in water, and a committee of untrained members."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from potential_cases import untrained

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee


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
