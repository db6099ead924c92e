import numpy as np
import pytest
from waters import WATER

from aiida_hqe.frames import Frame

CHARGES = np.array([[2.6, 0.3, 0.4], [-2.2, 1.9, 0.2], [0.3, -0.4, 3.1], [0.2, 3.1, 1.2]])
VALUES = np.array([-0.834, 0.417, 0.417, -0.3])


@pytest.fixture(scope="session")
def water() -> Frame:
    """A water molecule in four point charges, all of it core."""
    return Frame(
        numbers=[8, 1, 1],
        positions=WATER,
        charge=0,
        spin=0,
        core=[1, 1, 1],
        mm_numbers=[8, 1, 1, 17],
        mm_positions=CHARGES,
        mm_charges=VALUES,
    )


@pytest.fixture(scope="session")
def dimer(water) -> Frame:
    """A hydrogen-bonded water dimer in four point charges; the first molecule is the core."""
    second = WATER[:, [1, 0, 2]] * [1, 1, -1] + [0.1, 2.9, -1.0]
    return water.replace(
        numbers=[8, 1, 1] * 2,
        positions=np.vstack([WATER, second]),
        core=[1, 1, 1, 0, 0, 0],
        mm_positions=np.add(CHARGES, [0.0, -2.0, 3.0]),
    )


@pytest.fixture(scope="session")
def methanol() -> Frame:
    """Methanol without charges; the core is its O-H end, cut through the C-O bond."""
    return Frame(
        numbers=[6, 8, 1, 1, 1, 1],
        positions=[
            [-0.0467, 0.6634, 0.0],
            [-0.0467, -0.7580, 0.0],
            [-1.0870, 0.9731, 0.0],
            [0.4359, 1.0693, 0.8900],
            [0.4359, 1.0693, -0.8900],
            [0.8630, -1.0690, 0.0],
        ],
        charge=0,
        spin=0,
        core=[0, 1, 0, 0, 0, 1],
    )


@pytest.fixture(scope="session")
def radical(dimer) -> Frame:
    """A hydroxyl radical that donates a hydrogen bond to water, without charges; the radical is the core."""
    kept = [0, 2, 3, 4, 5]
    return Frame(numbers=dimer.numbers[kept], positions=dimer.positions[kept], charge=0, spin=1, core=[1, 1, 0, 0, 0])
