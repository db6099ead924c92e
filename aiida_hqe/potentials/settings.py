"""`PotentialSettings`: architecture of the environment-aware network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.settings import Settings
from aiida_hqe.units import Length


class PotentialSettings(Settings):
    """Network of one committee member; see `aiida_hqe.potentials.model` for the equations."""

    representation: Literal["painn"] = "painn"
    features: int = Field(32, ge=4)
    interactions: int = Field(2, ge=1)
    radial_functions: int = Field(16, ge=4)
    cutoff: Length = Field(5.0, gt=0)
    environment: Literal["potential-field", "blind"] = "potential-field"
    latent_charges: bool = True
