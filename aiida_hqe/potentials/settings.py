"""`PotentialSettings`: architecture of the environment-aware network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.baseline.settings import BaselineName
from aiida_hqe.settings import Settings
from aiida_hqe.units import Length


class PotentialSettings(Settings):
    """Network of one committee member; see `aiida_hqe.potentials.model` for the equations.

    Attributes
    ----------
    representation, features, interactions, radial_functions, cutoff
        SchNetPack representation, its width, depth, radial basis and cutoff.
    environment
        ``potential-field``: the network sees potential and field of the point charges; ``mm-elements``: it sees the MM atoms
        within its cutoff as elements of their own, each weighted by its charge; ``blind``: it sees nothing of them.
    latent_charges
        Whether the network predicts charges that interact with the potential; not if it is blind.
    first_response
        Size of the first weights by which potential and field enter an atom's features. A small one says, before training, that
        the surroundings change little: forces on frames never seen get better where labels are few.
    baseline
        A cheap method in the same point charges, to which the network learns the difference, and to which it is added.
    """

    representation: Literal["painn", "fieldschnet", "so3net"] = "painn"
    features: int = Field(32, ge=4)
    interactions: int = Field(2, ge=1)
    radial_functions: int = Field(20, ge=4)
    cutoff: Length = Field(5.0, gt=0)
    environment: Literal["potential-field", "mm-elements", "blind"] = "potential-field"
    latent_charges: bool = True
    first_response: float = Field(1.0, gt=0)
    baseline: BaselineName = "none"
