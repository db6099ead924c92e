"""`CommitteeCalculator`: a committee as an ASE calculator of QM atoms in point charges."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import ArrayLike

from aiida_hqe.frames import Frame
from aiida_hqe.potentials.committee import Committee


class CommitteeCalculator(Calculator):
    """Mean energy and forces of a committee on the QM atoms, in point charges that stay where they are.

    Parameters
    ----------
    committee
        The committee; its charge and spin are those of the atoms.
    mm_positions, mm_charges
        Point charges, (n_mm, 3) angstrom and (n_mm,) e; none by default.

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
        self, committee: Committee, mm_positions: ArrayLike | None = None, mm_charges: ArrayLike | None = None
    ) -> None:
        super().__init__()
        self.committee = committee
        self.set_charges(
            np.zeros((0, 3)) if mm_positions is None else mm_positions, [] if mm_charges is None else mm_charges
        )

    def set_charges(self, mm_positions: ArrayLike, mm_charges: ArrayLike) -> None:
        """Replace the point charges, and forget results that belong to the old ones."""
        self.mm_positions = np.array(mm_positions, dtype=float).reshape(-1, 3)
        self.mm_charges = np.array(mm_charges, dtype=float).reshape(-1)
        self.reset()

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

    def frame(self) -> Frame:
        """The atoms in their charges, as a frame."""
        return Frame(
            numbers=self.atoms.numbers,
            positions=self.atoms.positions,
            charge=self.committee.charge,
            spin=self.committee.spin,
            mm_numbers=np.zeros(len(self.mm_charges), dtype=np.int64),
            mm_positions=self.mm_positions,
            mm_charges=self.mm_charges,
        )
