"""PaiNN for many frames on all pairs at once is the network that `Potential` is: energies, losses and both derivatives.

In double precision and to round-off: all quantities are of order one, and sums have at most some thousand terms.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aiida_hqe.frames import Frame
from aiida_hqe.potentials.batched import FEW, BatchedPaiNN, is_batched
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training import objective as objectives
from aiida_hqe.training.batches import Block, blocks
from aiida_hqe.training.objective import Objective
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.targets import targets

PAINN = PotentialSettings(features=8, interactions=2, radial_functions=10, cutoff="2.5 angstrom")
VARIANTS = [
    {},
    {"environment": "blind"},
    {"short_range": False},
    {"latent_charges": False},
    {"interactions": 1},
]
ROUND_OFF = 1e-12


def labelled_frame(generator: np.random.Generator, atoms: int = 12) -> Frame:
    """Atoms on a bent, disturbed chain, so that some pairs are beyond the cutoff, four charges, one close by, made-up labels."""
    line = np.arange(atoms)
    positions = np.stack([0.8 * line, np.sin(line), np.cos(2 * line)], axis=1) + generator.normal(0.0, 0.1, (atoms, 3))
    return Frame(
        numbers=np.resize([6, 1, 1, 8], atoms),
        positions=positions,
        charge=0,
        spin=0,
        mm_numbers=[8, 1, 1, 11],
        mm_positions=positions[:4] + np.array([[0.0, 4.0, 1.0]] * 3 + [[0.0, 0.5, 1.9]]),
        mm_charges=[-0.8, 0.4, 0.4, 1.0],
        environment_energy=float(generator.normal()),
        environment_forces=generator.normal(size=(atoms, 3)),
        environment_mm_forces=generator.normal(size=(4, 3)),
    )


def block_of(frames: list[Frame], dtype: torch.dtype = torch.float64, settings: PotentialSettings = PAINN) -> Block:
    wanted = [targets(frame, "environment") for frame in frames]
    (block,) = blocks(frames, wanted, np.zeros(len(frames)), dtype, settings)
    return block


@pytest.fixture(params=VARIANTS, ids=str)
def settings(request: pytest.FixtureRequest) -> PotentialSettings:
    return PAINN.model_copy(update=request.param)


@pytest.fixture
def block(settings: PotentialSettings) -> Block:
    generator = np.random.default_rng(5)
    return block_of([labelled_frame(generator) for _ in range(3)], settings=settings)


def test_energies_are_those_of_the_potential(settings: PotentialSettings, block: Block) -> None:
    network = build(settings, 1, seed=3).double()
    inputs, close = block.seen, block.seen[3:]
    assert len(close) == int(settings.has_short_range)
    assert all(part.abs().max() > 0.1 for part in close)
    expected = network(torch.tensor(block.numbers), *inputs)
    found = BatchedPaiNN(settings, network.charge, network.state_dict(), block.numbers)(*inputs)
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=ROUND_OFF, atol=ROUND_OFF)


def test_losses_and_their_gradient_are_those_of_the_potential(
    settings: PotentialSettings, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient holds the second derivatives, by positions or field and by every parameter."""
    network = build(settings, 0, seed=4).double()
    objective = Objective(network, TrainingSettings())
    flat = objective.flatten(network)
    losses, gradient = objective._function(block.numbers)(flat, network.scale, *block.tensors)
    monkeypatch.setattr(objectives, "is_batched", lambda *_: False)
    expected = objective._function(block.numbers)(flat, network.scale, *block.tensors)
    assert float(expected[1].norm()) > 1e-2
    torch.testing.assert_close(losses, expected[0], rtol=ROUND_OFF, atol=ROUND_OFF)
    torch.testing.assert_close(gradient, expected[1], rtol=1e-10, atol=1e-10 * float(expected[1].norm()))


def test_recorded_steps_and_validation_have_the_same_losses(settings: PotentialSettings, block: Block) -> None:
    network = build(settings, 0, seed=5).double()
    objective = Objective(network, TrainingSettings())
    flat = objective.flatten(network)
    torch.testing.assert_close(
        objective.loss_and_gradient(flat, block)[0], objective.errors(flat, block)[0], rtol=ROUND_OFF, atol=ROUND_OFF
    )


def test_single_precision_is_within_its_round_off_of_double() -> None:
    """Directions as differences of moments lose what the molecule's size is to a bond: a factor of ten here."""
    generator = np.random.default_rng(6)
    frames = [labelled_frame(generator, 20) for _ in range(2)]
    network = build(PAINN, 0, seed=6)
    found = {}
    for dtype in (torch.float32, torch.float64):
        objective, block = Objective(network.to(dtype), TrainingSettings()), block_of(frames, dtype)
        found[dtype] = objective.loss_and_gradient(objective.flatten(network), block)[1].double()
    error = found[torch.float32] - found[torch.float64]
    assert float(error.norm() / found[torch.float64].norm()) < 1e-4


def test_small_molecules_and_other_kinds_of_networks_are_trained_on_lists_of_pairs() -> None:
    assert is_batched(PAINN, FEW)
    assert not is_batched(PAINN, FEW - 1)
    assert not is_batched(PAINN.model_copy(update={"representation": "so3net"}), FEW)
    assert not is_batched(PAINN.model_copy(update={"environment": "mm-elements"}), FEW)
