"""Every representation trains, and what training measures is what the committee then predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import SHORT

from aiida_hqe.frames import Frames
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import look
from aiida_hqe.training.batches import blocks
from aiida_hqe.training.objective import Objective
from aiida_hqe.training.targets import targets
from aiida_hqe.training.train import train_member, validation_fold

CASES = [
    ("fieldschnet", "potential-field"),
    ("so3net", "potential-field"),
    ("painn", "mm-elements"),
    pytest.param(("fieldschnet", "mm-elements"), marks=pytest.mark.slow),
    pytest.param(("so3net", "mm-elements"), marks=pytest.mark.slow),
]


@pytest.fixture(params=CASES, ids=str)
def settings(request: pytest.FixtureRequest) -> PotentialSettings:
    representation, environment = request.param
    return PotentialSettings(
        features=4,
        interactions=1,
        radial_functions=6,
        cutoff="3 angstrom",
        representation=representation,
        environment=environment,
    )


def test_loss_of_the_objective_is_that_of_the_forces_themselves(settings: PotentialSettings, methanol: Frames) -> None:
    few, network = Frames(methanol[:3]), build(settings, 0, seed=1).double()
    wanted = [targets(frame, "environment") for frame in few]
    (block,) = blocks(few, wanted, np.zeros(3), torch.float64, settings)
    losses, _ = Objective(network, SHORT).errors(Objective(network, SHORT).flatten(network), block)
    for frame, loss in zip(few, losses.tolist(), strict=True):
        surroundings = look(frame, settings)
        inputs = [torch.tensor(array)[None].requires_grad_() for array in surroundings.inputs(frame)]
        elements = [] if surroundings.nearby is None else [torch.tensor(surroundings.nearby.numbers)[None]]
        energy = network(torch.tensor(frame.numbers), *inputs, *elements)
        gradients = [
            gradient[0].detach().numpy()
            for gradient in torch.autograd.grad(energy.sum(), inputs, materialize_grads=True)
        ]
        qm = surroundings.qm_forces(*gradients) - frame.environment_forces
        mm = surroundings.mm_forces(*gradients[1:]) - frame.environment_mm_forces
        expected = SHORT.weight_energy * ((float(energy.detach()) - frame.environment_energy) / 6) ** 2
        expected += SHORT.weight_forces * (qm**2).sum() / 18 + SHORT.weight_mm_forces * (mm**2).sum() / 18
        assert loss == pytest.approx(expected, rel=1e-9)


def test_the_committee_predicts_with_the_errors_that_training_measured(
    settings: PotentialSettings, methanol: Frames
) -> None:
    few = Frames(methanol[:8])
    training = SHORT.model_copy(update={"epochs": 6, "precision": "float64"})
    committee, history = train_member(few, settings, training, member=0, seed=2)
    best = min((step for step in history if step["level"] == "environment"), key=lambda step: step["validation"])
    assert best["validation"] < history[0]["validation"] or best is history[0]
    held = [few[index] for index in validation_fold(few, 0, training.members)]
    errors = [committee.predict(frame).environment_forces[0] - frame.environment_forces for frame in held]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(best["force_component"], rel=1e-6)
    mm = [committee.predict(frame).environment_mm_forces[0] - frame.environment_mm_forces for frame in held]
    norm = np.sqrt(np.mean([(error**2).sum() / (3 * 6) for error in mm]))
    assert norm == pytest.approx(best["mm_force_norm"], rel=1e-6)
