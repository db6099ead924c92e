"""`PotentialSettings`: architecture of the environment-aware network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.settings import Settings
from aiida_hqe.units import Length


class PotentialSettings(Settings):
    """Network of one committee member; see `aiida_hqe.potentials.model` for the equations.

    Attributes
    ----------
    representation, features, interactions, radial_functions, cutoff
        SchNetPack representation, its width, depth, radial basis and cutoff.
    environment
        ``potential-field``: the network sees potential and field of the point charges; ``blind``: it does not see them.
    latent_charges
        Whether the network predicts charges that interact with the potential.
    """

    representation: Literal["painn"] = "painn"
    features: int = Field(32, ge=4)
    interactions: int = Field(2, ge=1)
    radial_functions: int = Field(20, ge=4)
    cutoff: Length = Field(5.0, gt=0)
    environment: Literal["potential-field", "blind"] = "potential-field"
    latent_charges: bool = True
