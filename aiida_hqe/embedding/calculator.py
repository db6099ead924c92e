"""`EmbeddedCalculator`: a level as an ASE calculator of QM atoms in point charges."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import ArrayLike
from pyscf import lib

from aiida_hqe.calculators import InCharges
from aiida_hqe.embedding.label import Memory, evaluate
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError
from aiida_hqe.labels import Label


class EmbeddedCalculator(InCharges):
    """Energy and forces of a level on the QM atoms, in point charges that stay where they are.

    It optimises structures and runs dynamics with the embedded level itself. Each calculation starts from the densities of
    the one before, so that energies depend on the path within the convergence of the self-consistent fields (1e-9 hartree).

    Parameters
    ----------
    level
        Level with ``core_orbitals`` fixed, so that the energy is smooth. Without cores, or with ``forces: none``, energy and
        forces are those of the environment. With composite forces the energy is the one that the forces belong to
        (`Label.force_energy`), so that energy and forces are consistent; the accurate energy is in `last`.
    core
        Number of the quantum core of each atom, 0 for none (n,); by default all atoms are environment.
    charge, spin
        Of the QM region.
    mm_positions, mm_charges, mm_numbers
        Point charges, (n_mm, 3) angstrom and (n_mm,) e, and their elements; none by default.
    threads
        OpenMP threads of PySCF; ``None`` leaves them as they are.

    Raises
    ------
    InputError
        There are cores, and the level leaves the number of their orbitals open.

    Attributes
    ----------
    results
        ``energy`` (eV, without the charges among themselves), ``forces`` (n, 3), ``mm_forces`` on the point charges (n_mm, 3)
        and ``charge_gradient`` (n_mm,) eV/e.
    last
        Label of the last calculation, whole.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "mm_forces", "charge_gradient"]

    def __init__(
        self,
        level: Level,
        core: ArrayLike | None = None,
        *,
        charge: int = 0,
        spin: int = 0,
        mm_positions: ArrayLike | None = None,
        mm_charges: ArrayLike | None = None,
        mm_numbers: ArrayLike | None = None,
        threads: int | None = None,
    ) -> None:
        if np.any(core) and level.embedding.core_orbitals is None:
            raise InputError(
                "a number of orbitals for each core was expected (got none): the number that is clearest may change from one"
                " geometry to the next, and with it the energy; fix core_orbitals in the level",
                "embedding.core_orbitals",
            )
        self.level, self.threads = level, threads
        self.last: Label | None = None
        super().__init__(charge, spin, core, mm_positions=mm_positions, mm_charges=mm_charges, mm_numbers=mm_numbers)

    def set_charges(self, mm_positions: ArrayLike, mm_charges: ArrayLike, mm_numbers: ArrayLike | None = None) -> None:
        """Replace the point charges, and forget results and densities that belong to the old ones."""
        super().set_charges(mm_positions, mm_charges, mm_numbers)
        self._memory = Memory()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results`; raises `HQEError` where the frame cannot be labelled."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        if set(system_changes) - {"positions"}:
            self._memory = Memory()
        with lib.with_omp_threads(self.threads):
            self.last = found = evaluate(self.frame(), self.level, self._memory)
        self.results = _results(found)


def _results(found: Label) -> dict[str, Any]:
    """Energy and the forces that are its derivatives: of the target level where the label has them."""
    if found.forces is None:
        energy, gradient = found.environment_energy, found.environment_charge_gradient
        forces, mm_forces = found.environment_forces, found.environment_mm_forces
    else:
        energy = found.energy if found.force_energy is None else found.force_energy
        forces, mm_forces, gradient = found.forces, found.mm_forces, found.charge_gradient
    results = {"energy": energy, "forces": np.array(forces), "mm_forces": np.reshape(mm_forces or [], (-1, 3))}
    return results if gradient is None else results | {"charge_gradient": np.array(gradient)}
