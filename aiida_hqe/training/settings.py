"""`TrainingSettings`: objective, schedule and committee of one training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.settings import Settings


class TrainingSettings(Settings):
    """How a committee is trained.

    Attributes
    ----------
    members
        Size of the committee.
    learn
        How the target level is learned: its ``difference`` to the environment level as a linear function of the base
        network's features, ``transfer`` (a copy of the base network, trained on with target labels) or ``direct`` (a network
        of its own that never saw the environment level).
    epochs, warm_epochs, target_epochs
        Passes over the data from scratch, when going on from the committee of the round before, and for the target level
        of ``transfer`` and ``direct``.
    weight_energy, weight_forces, weight_mm_forces
        Weights in the loss (`aiida_hqe.training.objective`) of squared errors of energies (per QM atom), QM forces and MM
        forces, both kinds of forces normalised by the number of QM atoms.
    warm_start
        Whether a training goes on from the committee of the round before, if it is given one.
    held_out
        Fraction of each batch of labels kept for calibration, never trained on.
    """

    members: int = Field(4, ge=2)
    learn: Literal["difference", "transfer", "direct"] = "difference"
    epochs: int = Field(300, ge=1)
    warm_epochs: int = Field(150, ge=1)
    target_epochs: int = Field(200, ge=1)
    batch_size: int = Field(4, ge=1)
    learning_rate: float = Field(1e-2, gt=0)
    final_learning_rate: float = Field(4e-5, gt=0)
    gradient_clip: float = Field(10.0, gt=0)
    weight_energy: float = Field(1.0, ge=0)
    weight_forces: float = Field(1.0, ge=0)
    weight_mm_forces: float = Field(5.0, ge=0)
    held_out: float = Field(0.25, gt=0, lt=1)
    warm_start: bool = True
    precision: Literal["float32", "float64"] = "float32"
