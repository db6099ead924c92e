"""The landscape of configurations: frames that are alike lie together, and like frames lie on each other."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation
from small_systems import WATER

from aiida_hqe.frames import Frame
from aiida_hqe.selection.landscape import landscape


def water(stretch: float, seed: int) -> Frame:
    """A water with one bond stretched (angstrom), shaken a little."""
    positions = WATER + np.random.default_rng(seed).normal(0, 0.005, WATER.shape)
    positions[1, 0] += stretch
    return Frame(numbers=[8, 1, 1], positions=positions, charge=0, spin=0, mm_numbers=[8],
                 mm_positions=[[3.0, 0, 0]], mm_charges=[-0.4])  # fmt: skip


def test_two_kinds_of_configuration_are_told_apart_by_the_first_axis() -> None:
    short, long = [water(0.0, n) for n in range(8)], [water(0.6, n) for n in range(8, 16)]
    found = landscape([short, long])
    assert found is not None
    assert found.explained[0] > 0.8
    assert (
        found.places[0][:, 0].max() < found.places[1][:, 0].min()
        or found.places[1][:, 0].max() < found.places[0][:, 0].min()
    )


def test_a_rotated_frame_lies_where_the_frame_does() -> None:
    frames = [water(0.1 * n, n) for n in range(6)]
    turn = Rotation.from_euler("xyz", [0.3, 1.0, -0.4]).as_matrix()
    turned = [
        frame.replace(positions=frame.positions @ turn, mm_positions=frame.mm_positions @ turn) for frame in frames
    ]
    found = landscape([frames, turned])
    assert found is not None
    np.testing.assert_allclose(found.places[0], found.places[1], atol=1e-10)


def test_fewer_than_three_frames_need_no_plane_and_equal_ones_lie_on_a_point() -> None:
    assert landscape([[water(0.0, 1)], [water(0.0, 2)]]) is None
    assert landscape([]) is None
    found = landscape([[water(0.0, 1)] * 3, []])
    assert found is not None
    np.testing.assert_allclose(found.places[0], 0.0, atol=1e-12)
    assert found.explained == (0.0, 0.0)
    assert found.places[1].shape == (0, 2)
