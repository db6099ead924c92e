"""The difference of two levels as a linear function of features: what it can learn, and what it does not depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from training_cases import SHORT, SMALL

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.model import Potential, build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.surroundings import Surroundings
from aiida_hqe.training.difference import Difference, fit_difference
from aiida_hqe.training.targets import Targets

CHARGES = np.array([0.10, -0.16, 0.01, 0.02, 0.01, 0.02])
"""What the other level adds to the charges of methanol's atoms (e); they sum to zero."""


def of_charges(frame: Frame) -> Targets:
    """Energy and forces of the atoms' additional charges in the potential, as if they did not depend on the geometry."""
    seen = Surroundings.of(frame)
    return Targets(
        float(CHARGES @ seen.potential),
        seen.qm_forces(np.zeros((6, 3)), CHARGES, np.zeros((6, 3))),
        seen.mm_forces(CHARGES, np.zeros((6, 3))),
    )


def network(settings: PotentialSettings, response: float = 1.0, scale: float = 1.0) -> Potential:
    """Untrained, with its response to the surroundings weakened, or its features scaled."""
    made = build(settings, 0, seed=4).double()
    with torch.no_grad():
        made.representation.potential_embedding.weight.mul_(response)
        made.representation.field_embedding.weight.mul_(response)
    if scale != 1.0:
        true = made._features
        made._features = lambda *inputs: tuple(scale * one for one in true(*inputs))  # type: ignore
    return made


def learned(frames: Frames, made: Potential, *, forces: bool = True) -> Difference:
    wanted = [of_charges(frame) for frame in frames]
    if not forces:
        wanted = [dataclasses.replace(one, forces=None, mm_forces=None) for one in wanted]
    return fit_difference(made, frames, wanted, {0, 5}, SHORT)


@pytest.mark.parametrize("response", [1.0, 0.01])
def test_a_difference_of_charges_is_learned_however_little_the_features_respond(
    methanol: Frames, response: float
) -> None:
    """Nine tenths of the forces at least; features alone do not come near, and not halfway where they hardly respond."""
    few = Frames(methanol[:12])
    nothing = np.mean([learned_loss(of_charges(frame)) for frame in few])
    with_charges = learned(few, network(SMALL, response))
    assert with_charges.validation < 0.1**2 * nothing
    without = learned(few, network(SMALL.model_copy(update={"latent_charges": False}), response))
    assert without.validation > (0.1 if response == 1.0 else 0.5) ** 2 * nothing


def learned_loss(wanted: Targets) -> float:
    """Loss of a frame's forces where nothing is learned."""
    assert wanted.forces is not None
    assert wanted.mm_forces is not None
    forces, mm_forces = (wanted.forces**2).sum() / 18, (wanted.mm_forces**2).sum() / 18
    return float(SHORT.weight_forces * forces + SHORT.weight_mm_forces * mm_forces)


@pytest.mark.parametrize("forces", [True, False])
def test_the_scale_of_features_does_not_matter(methanol: Frames, forces: bool) -> None:
    one, other = (learned(Frames(methanol[:12]), network(SMALL, scale=scale), forces=forces) for scale in (1.0, 0.01))
    assert other.strength == one.strength
    assert other.validation == pytest.approx(one.validation, rel=1e-6)
    weights = [found.network.state["weight"] for found in (one, other)]
    torch.testing.assert_close(weights[1] * 0.01, weights[0], rtol=1e-6, atol=1e-9)


def test_a_difference_without_surroundings_has_no_charges(methanol: Frames) -> None:
    """The charges cannot be told from a gas phase; nothing is made up for them."""
    nothing = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}
    alone = Frames(frame.unlabelled().replace(**nothing) for frame in methanol[:8])
    wanted = [
        Targets(0.01 * float(np.linalg.norm(frame.positions[0] - frame.positions[1])), None, None) for frame in alone
    ]
    weight = fit_difference(network(SMALL), alone, wanted, {0}, SHORT).network.state["weight"]
    assert weight[: SMALL.features].abs().max() > 0.0
    assert weight[SMALL.features :].abs().max() == 0.0


def test_a_level_that_differs_by_energies_of_atoms_alone_needs_no_features(methanol: Frames) -> None:
    wanted = [Targets(-12.5, None, None) for _ in methanol]
    found = fit_difference(network(SMALL), methanol, wanted, {0, 1}, SHORT)
    assert found.network.state["weight"].abs().max() < 1e-9
    assert sum(found.network.references[int(z)] for z in methanol[0].numbers) == pytest.approx(-12.5, abs=1e-9)
    assert found.validation == pytest.approx(0.0, abs=1e-18)
