"""`PotentialSettings`: architecture of the environment-aware network."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from aiida_hqe.baseline.settings import BaselineName
from aiida_hqe.settings import Settings
from aiida_hqe.units import Length

DEVICE = r"cpu|cuda(:[0-9]{1,2})?"


def _is_device(name: str) -> str:
    if not re.fullmatch(DEVICE, name):
        raise ValueError("a device, cpu, cuda, or cuda:1 and so on")
    return name


Device = Annotated[str, AfterValidator(_is_device)]
"""Name of a device on which networks compute; whether it is there is for the machine to say (`aiida_hqe.potentials.device`)."""


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
    short_range
        Whether charges within the cutoff, which touch the QM atoms, act on more than charges and dipoles: on quadrupoles, and
        on the tails of densities. Where the network has latent charges and sees potential and field.
    first_response
        Size of the first weights by which potential and field enter an atom's features. A small one says, before training, that
        the surroundings change little: forces on frames never seen get better where labels are few.
    smoothing
        PaiNN knows the length of a vector feature v as sqrt(v^2 + smoothing). If it is small, forces turn sharply where a
        feature passes through zero, which a time step does not resolve: the total energy then wanders.
    baseline
        A cheap method in the same point charges, to which the network learns the difference, and to which it is added.
    """

    representation: Literal["painn", "fieldschnet", "so3net"] = "painn"
    features: int = Field(32, ge=4, le=2048)
    interactions: int = Field(2, ge=1, le=32)
    radial_functions: int = Field(20, ge=4, le=512)
    cutoff: Length = Field(5.0, gt=0, le=100)
    environment: Literal["potential-field", "mm-elements", "blind"] = "potential-field"
    latent_charges: bool = True
    short_range: bool = True
    first_response: float = Field(0.1, gt=0, le=100)
    smoothing: float = Field(0.03, ge=1e-8, le=100)
    baseline: BaselineName = "none"

    def fits(self, other: PotentialSettings) -> bool:
        """Whether networks of the one can be trained on as the other's.

        They may differ in how they start and how smooth they are, and the other may see what is close by where the one does not.
        """
        free = ["first_response", "smoothing", *([] if self.short_range else ["short_range"])]
        return self == other.model_copy(update={name: getattr(self, name) for name in free})

    @property
    def has_charges(self) -> bool:
        """Whether latent charges interact with the potential."""
        return self.latent_charges and self.environment != "blind"

    @property
    def has_short_range(self) -> bool:
        """Whether the network sees `aiida_hqe.potentials.close`."""
        return self.short_range and self.latent_charges and self.environment == "potential-field"

    @property
    def n_descriptors(self) -> int:
        """Number D of descriptors in which a difference to another level is linear (`aiida_hqe.potentials.model.describe`)."""
        return self.features * (2 if self.has_charges else 1)
