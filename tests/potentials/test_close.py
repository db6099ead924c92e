"""What the charges close by make at the atoms, and its chain rule, against differences and the potential itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from potential_cases import SETTINGS, untrained
from scipy.spatial.transform import Rotation

from aiida_hqe.frames import Floats, Frame
from aiida_hqe.potentials.close import BASIS, Close
from aiida_hqe.potentials.model import build, curvature
from aiida_hqe.potentials.stack import look
from aiida_hqe.potentials.surroundings import Surroundings

REACH = 5.0
STEP = 1e-4


def close_by(frame: Frame, reach: float = REACH) -> Close:
    """What is close by, and something of it."""
    found = Surroundings.of(frame, close=reach).close
    assert found is not None
    return found


def weights(frame: Frame) -> Floats:
    """Derivatives by the components, any."""
    return np.random.default_rng(1).normal(size=(frame.n_qm, 6))


def energy(frame: Frame) -> float:
    """A linear function of the components."""
    return float((close_by(frame).components * weights(frame)).sum())


def test_basis_is_orthonormal_symmetric_and_without_trace() -> None:
    np.testing.assert_allclose(np.einsum("axy,bxy->ab", BASIS, BASIS), np.eye(5), atol=1e-15)
    np.testing.assert_array_equal(BASIS, BASIS.transpose(0, 2, 1))
    np.testing.assert_allclose(np.trace(BASIS, axis1=1, axis2=2), 0.0, atol=1e-15)


def test_within_a_large_reach_the_curvature_is_minus_the_gradient_of_the_field(frame: Frame) -> None:
    """A reach of 1e5 times the distances changes them by the square of its inverse."""
    found = curvature(torch.from_numpy(close_by(frame, 1e6).components)).numpy()
    expected = -Surroundings.of(frame).gradient
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_forces_are_minus_the_derivative_of_the_energy(frame: Frame) -> None:
    close = close_by(frame)
    on_qm, on_mm = close.qm_forces(weights(frame)), close.mm_forces(weights(frame))
    whole = np.zeros((frame.n_mm, 3))
    whole[close.sites] = on_mm
    for name, forces in (("positions", on_qm), ("mm_positions", whole)):
        places = getattr(frame, name)
        chosen = range(frame.n_qm) if name == "positions" else close.sites[:6]
        for index in chosen:
            for x in range(3):
                change = np.zeros_like(places)
                change[index, x] = STEP
                ends = [energy(frame.replace(**{name: places + sign * change})) for sign in (1, -1)]
                slope = (ends[0] - ends[1]) / (2 * STEP)
                assert forces[index, x] == pytest.approx(-slope, abs=1e-6 * np.abs(forces).max())


def test_jacobian_and_slope_are_the_same_chain_rule(frame: Frame) -> None:
    close, w = close_by(frame), weights(frame)
    on_qm, on_mm = close.qm_forces(w), close.mm_forces(w)
    np.testing.assert_allclose(-np.einsum("na,namx->mx", w, close.jacobian), on_mm, atol=1e-12)
    np.testing.assert_allclose(-np.einsum("na,nax->nx", w, close.slope), on_qm, atol=1e-12)


def test_energy_is_linear_in_the_charges(frame: Frame) -> None:
    close, w = close_by(frame), weights(frame)
    assert close.charge_gradient(w) @ close.charges == pytest.approx(energy(frame), rel=1e-12)


def test_a_charge_that_comes_within_reach_comes_smoothly() -> None:
    """The components begin as the square of the way inside."""
    water = {"numbers": [8, 1, 1], "positions": [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], "charge": 0, "spin": 0}

    def components(distance: float) -> float:
        place = {"mm_numbers": [8], "mm_positions": [[0, 0, -distance]], "mm_charges": [-0.8]}
        return float(np.abs(close_by(Frame(**water, **place)).components[0]).max())

    assert components(REACH + 1e-9) == 0.0
    inside = [components(REACH - way) for way in (0.02, 0.01)]
    assert inside[1] > 0
    assert inside[0] / inside[1] == pytest.approx(4.0, rel=0.05)


def test_what_is_close_by_turns_with_the_frame_and_changes_the_energy(frame: Frame) -> None:
    plain = SETTINGS.model_copy(update={"short_range": False})
    loud = SETTINGS.model_copy(update={"first_response": 1.0})
    with_them, rotation = untrained(1, settings=loud), Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix()
    turned = frame.replace(positions=frame.positions @ rotation.T, mm_positions=frame.mm_positions @ rotation.T)
    assert with_them.predict(turned).energy == pytest.approx(with_them.predict(frame).energy, abs=1e-9)
    network = build(loud, 0, seed=0).double()
    inputs = [torch.tensor(array)[None] for array in look(frame, loud).inputs(frame)]
    numbers = torch.tensor(frame.numbers)
    without = network(numbers, *inputs[:3], torch.zeros_like(inputs[3]))
    assert abs(float((network(numbers, *inputs) - without).detach())) > 1e-3
    assert "axes.weight" not in build(plain, 0, seed=0).state_dict()
    assert len(look(frame, plain).inputs(frame)) == 3


@pytest.mark.parametrize(
    "changes", [{"environment": "blind"}, {"environment": "mm-elements"}, {"latent_charges": False}]
)
def test_without_latent_charges_or_potential_and_field_nothing_close_by_is_seen(changes: dict[str, object]) -> None:
    settings = SETTINGS.model_copy(update=changes)
    assert settings.short_range
    assert not settings.has_short_range
    assert "axes.weight" not in build(settings, 0, seed=0).state_dict()
