"""Committees that see charges as atoms, in ASE: the elements of the charges count, and cannot be forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from potential_cases import untrained

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame
from aiida_hqe.potentials.calculator import CommitteeCalculator
from aiida_hqe.potentials.settings import PotentialSettings

AS_ATOMS = PotentialSettings(features=8, interactions=1, radial_functions=8, environment="mm-elements")


def test_charges_that_are_seen_as_atoms_have_their_elements_in_ase_too(frame: Frame) -> None:
    committee = untrained(2, "direct", AS_ATOMS)
    atoms = Atoms(numbers=frame.numbers, positions=frame.positions)
    atoms.calc = CommitteeCalculator(committee, frame.mm_positions, frame.mm_charges, frame.mm_numbers)
    expected = committee.evaluate(frame)
    assert atoms.get_potential_energy() == expected.energy
    np.testing.assert_array_equal(atoms.get_forces(), expected.forces)
    others = committee.evaluate(frame.replace(mm_numbers=np.zeros(frame.n_mm, dtype=int)))
    assert np.abs(others.forces - expected.forces).max() > 0.01


def test_charges_that_are_seen_as_atoms_without_elements_are_refused(frame: Frame) -> None:
    committee = untrained(2, "direct", AS_ATOMS)
    with pytest.raises(InputError, match="give mm_numbers"):
        CommitteeCalculator(committee, frame.mm_positions, frame.mm_charges)
    alone = CommitteeCalculator(committee)
    with pytest.raises(InputError, match="give mm_numbers"):
        alone.set_charges(frame.mm_positions, frame.mm_charges)
