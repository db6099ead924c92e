"""A small network that trains in seconds."""

from __future__ import annotations

from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training.settings import TrainingSettings

SMALL = PotentialSettings(features=8, interactions=1, radial_functions=10, cutoff="4 angstrom")
SHORT = TrainingSettings(epochs=60, warm_epochs=20, target_epochs=30, batch_size=6, members=2)
