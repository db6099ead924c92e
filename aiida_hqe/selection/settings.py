"""`SelectionSettings`: which sampled frames are worth a label."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.settings import Settings
from aiida_hqe.units import Energy, Force


class SelectionSettings(Settings):
    """How frames are flagged.

    Attributes
    ----------
    target_force_error
        Force error the user accepts (eV/angstrom); a frame whose calibrated bound exceeds it is uncertain.
    target_energy_error
        The same for the target energy (eV), where stated.
    confidence
        Coverage that the calibrated bound promises.
    batch
        The most frames flagged in one round.
    strategy
        ``committee`` flags uncertain frames; ``random`` and ``farthest_point`` are controls that ignore the committee.
    diversity
        Choose among uncertain frames by distance to what is labelled or chosen, times bound (otherwise by largest bound).
    """

    target_force_error: Force = Field(0.1, gt=0, le=100)
    target_energy_error: Energy | None = Field(None, gt=0, le=1000)
    confidence: float = Field(0.9, gt=0.5, lt=1)
    batch: int = Field(12, ge=1, le=100_000)
    strategy: Literal["committee", "random", "farthest_point"] = "committee"
    diversity: bool = True
