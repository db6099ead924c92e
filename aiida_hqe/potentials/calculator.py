"""`CommitteeCalculator`: a committee as an ASE calculator of QM atoms in point charges."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import ArrayLike

from aiida_hqe.calculators import InCharges
from aiida_hqe.errors import InputError
from aiida_hqe.potentials.committee import Committee


class CommitteeCalculator(InCharges):
    """Mean energy and forces of a committee on the QM atoms, in point charges that stay where they are.

    Parameters
    ----------
    committee
        The committee; its charge and spin are those of the atoms. It computes on its own device: that of
        ``Committee.load(path).replace(device="cuda")`` on a GPU.
    mm_positions, mm_charges, mm_numbers
        Point charges, (n_mm, 3) angstrom and (n_mm,) e, and their elements; none by default. A committee of ``mm-elements``, and
        one upon GFN-xTB in the charges, need the elements.

    Attributes
    ----------
    results
        ``energy`` (eV, without the charges among themselves), ``forces`` (n, 3), ``mm_forces`` on the point charges
        (n_mm, 3), ``charge_gradient`` (n_mm,) eV/e, ``disagreement`` and, of each atom, ``atom_disagreement`` (n,)
        (eV/angstrom), and ``energy_disagreement`` (eV).
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "forces",
        "mm_forces",
        "charge_gradient",
        "disagreement",
        "atom_disagreement",
        "energy_disagreement",
    ]

    def __init__(
        self,
        committee: Committee,
        mm_positions: ArrayLike | None = None,
        mm_charges: ArrayLike | None = None,
        mm_numbers: ArrayLike | None = None,
    ) -> None:
        self.committee = committee
        super().__init__(
            committee.charge, committee.spin, mm_positions=mm_positions, mm_charges=mm_charges, mm_numbers=mm_numbers
        )

    def set_charges(self, mm_positions: ArrayLike, mm_charges: ArrayLike, mm_numbers: ArrayLike | None = None) -> None:
        """Replace the point charges, and forget results that belong to the old ones.

        Raises
        ------
        InputError
            The committee sees charges as atoms, and their elements are not given.
        """
        if mm_numbers is None and np.size(mm_charges) and self.committee.settings.environment == "mm-elements":
            raise InputError(
                "elements of the point charges were expected by a committee that sees them as atoms (got none): give mm_numbers",
                "mm_numbers",
            )
        super().set_charges(mm_positions, mm_charges, mm_numbers)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; raises `InputError` where the committee is not for these atoms."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        found = self.committee.evaluate(self.frame())
        names: list[str] = self.implemented_properties
        self.results: dict[str, Any] = {name: getattr(found, name) for name in names}
