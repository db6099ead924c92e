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
    target_weight_energy, target_weight_forces, target_weight_mm_forces
        The same for the target level; ``None`` takes those above. Where the target's forces are of another method than its
        energies (composite forces), both cannot be met, and these weights say which is.
    warm_start
        Whether a training goes on from the committee of the round before, if it is given one.
    data, data_fraction
        Frames of an epoch: ``all``, or ``adaptive``, this fraction of them, chosen by their losses (`aiida_hqe.training.feed`):
        new frames and those about to be forgotten often, the others now and then.
    optimizer, weight_decay
        ``adam``, ``adamw`` or ``core`` (optional extra ``core``), and the weight decay of the latter two; ``None`` is their own.
    left_out
        Fraction of the training frames that each member never trains on, others for each member (rounded to whole folds, at least
        as many as members): by them it decides which state to keep. With a half, members differ by data as well as by seed, and
        their disagreement is nearer to their errors before calibration; an epoch is shorter. Errors grow, the more the fewer the
        labels are.
    held_out
        Fraction of each batch of labels kept for calibration, never trained on.
    """

    members: int = Field(4, ge=2, le=100)
    learn: Literal["difference", "transfer", "direct"] = "difference"
    epochs: int = Field(300, ge=1, le=10**6)
    warm_epochs: int = Field(150, ge=1, le=10**6)
    target_epochs: int = Field(200, ge=1, le=10**6)
    batch_size: int = Field(4, ge=1, le=10**6)
    learning_rate: float = Field(1e-2, gt=0, le=1000)
    final_learning_rate: float = Field(4e-5, gt=0, le=1000)
    gradient_clip: float = Field(10.0, gt=0, le=1e12)
    weight_energy: float = Field(1.0, ge=0, le=1e9)
    weight_forces: float = Field(1.0, ge=0, le=1e9)
    weight_mm_forces: float = Field(5.0, ge=0, le=1e9)
    target_weight_energy: float | None = Field(None, ge=0, le=1e9)
    target_weight_forces: float | None = Field(None, ge=0, le=1e9)
    target_weight_mm_forces: float | None = Field(None, ge=0, le=1e9)
    left_out: float = Field(0.1, gt=0, lt=1)
    held_out: float = Field(0.25, gt=0, lt=1)
    warm_start: bool = True
    data: Literal["all", "adaptive"] = "all"
    data_fraction: float = Field(0.3, gt=0, le=1)
    optimizer: Literal["adam", "adamw", "core"] = "adam"
    weight_decay: float | None = Field(None, ge=0, le=10)
    precision: Literal["float32", "float64"] = "float32"

    def of_level(self, level: Literal["environment", "target"]) -> TrainingSettings:
        """These settings with the weights of `level` as the weights."""
        names = ("weight_energy", "weight_forces", "weight_mm_forces")
        own = {name: getattr(self, f"target_{name}") for name in names} if level == "target" else {}
        return self.model_copy(update={name: weight for name, weight in own.items() if weight is not None})
