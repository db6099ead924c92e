"""`InCharges`: what the ASE calculators of QM atoms in point charges share, the charges and the frame that they make."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike

from aiida_hqe.frames import Frame, Ints


class InCharges(Calculator):
    """An ASE calculator of QM atoms in point charges that stay where they are; what it calculates is up to its subclass.

    Parameters
    ----------
    charge, spin
        Of the QM region.
    core
        Number of the quantum core of each atom, 0 for none (n,); by default all atoms are environment.
    mm_positions, mm_charges, mm_numbers
        As in `set_charges`; no charges by default.
    """

    def __init__(
        self,
        charge: int,
        spin: int,
        core: ArrayLike | None = None,
        *,
        mm_positions: ArrayLike | None = None,
        mm_charges: ArrayLike | None = None,
        mm_numbers: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        self.charge, self.spin = charge, spin
        self.core: Ints | None = None if core is None else np.array(core)
        self.set_charges(
            [] if mm_positions is None else mm_positions, [] if mm_charges is None else mm_charges, mm_numbers
        )

    def set_charges(self, mm_positions: ArrayLike, mm_charges: ArrayLike, mm_numbers: ArrayLike | None = None) -> None:
        """Replace the point charges, and forget results that belong to the old ones.

        Parameters
        ----------
        mm_positions, mm_charges, mm_numbers
            (n_mm, 3) angstrom and (n_mm,) e, and their elements, by default 0: sites that are no atoms.
        """
        self.mm_positions = np.array(mm_positions, dtype=float).reshape(-1, 3)
        self.mm_charges = np.array(mm_charges, dtype=float).reshape(-1)
        self.mm_numbers = np.array(np.zeros(len(self.mm_charges), dtype=np.int64) if mm_numbers is None else mm_numbers)
        self.reset()

    def frame(self) -> Frame:
        """The atoms in their charges, as a frame."""
        return Frame(
            numbers=self.atoms.numbers,
            positions=self.atoms.positions,
            charge=self.charge,
            spin=self.spin,
            core=np.zeros(len(self.atoms), dtype=np.int64) if self.core is None else self.core,
            mm_numbers=self.mm_numbers,
            mm_positions=self.mm_positions,
            mm_charges=self.mm_charges,
        )
