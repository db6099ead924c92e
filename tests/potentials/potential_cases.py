"""Committees of untrained members: what holds for their mechanics holds for trained ones."""

from __future__ import annotations

import functools

import torch

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
                state = {"weight": torch.linspace(-0.3, 0.3, settings.n_descriptors) * (number + 1)}
            networks[level] = Network(state, {1: -10.0 + number, 6: -1000.0, 8: -2000.0 - index}, False)
        made.append(Member(number, 5, networks, {"frames": 10}))
    return Committee(made, settings=settings, learn=learn, elements=[1, 6, 8], charge=charge, spin=spin)
