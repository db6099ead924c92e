"""ML/MM Hamiltonian in OpenMM: the force field loses what happens inside the QM region, a driver supplies it.

    E = E_FF(all terms that reach outside the region, QM charges zero) + E_driver(QM atoms; effective point charges)

Lennard-Jones terms between QM and MM stay; electrostatics between them are the driver's. Bonded terms inside the region keep
their atoms with a force constant of zero, because OpenMM reads from them which atoms form a molecule.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
from openmm import unit

from aiida_hqe.dynamics.driver import Driver, Evaluation
from aiida_hqe.errors import HQEError, InputError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.charges import PointCharges
from aiida_hqe.units import KJ_PER_MOL, NM


class RegionForce:
    """Energy and forces of the driver for OpenMM's `PythonForce`.

    Parameters
    ----------
    assembly
        Which atoms are QM, and which charges they feel.
    driver
        Supplies energy and forces.

    Attributes
    ----------
    evaluation
        The driver's last answer.
    error
        What the driver, or the construction of its frame, raised: OpenMM passes only the text on.
    """

    def __init__(self, assembly: Assembly, driver: Driver) -> None:
        self._assembly = assembly
        self._driver = driver
        self.evaluation: Evaluation | None = None
        self.error: HQEError | None = None

    def __call__(self, state: Any) -> tuple[float, Floats]:
        """Energy (kJ/mol) and forces (n, 3) (kJ/mol/nm) of a `State`."""
        positions = NM * state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        box = None
        if self._assembly.box is not None:
            box = NM * state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        try:
            energy, forces = self.energy_and_forces(positions, box)
        except HQEError as error:
            self.error = error
            raise
        return energy / KJ_PER_MOL, forces * (NM / KJ_PER_MOL)

    def energy_and_forces(self, positions: Floats, box: Floats | None) -> tuple[float, Floats]:
        """Energy (eV) and forces on all atoms (n, 3) (eV/angstrom), those through the switch included."""
        charges = self._assembly.point_charges(positions, box)
        evaluation = self._driver.evaluate(self._assembly.frame_of(charges))
        self.evaluation = evaluation
        forces = np.zeros((self._assembly.n_atoms, 3))
        qm, mm = _with_switch(charges, evaluation)
        forces[self._assembly.qm_atoms] = qm
        forces[charges.sites] = mm
        return float(evaluation.energy), forces


def _with_switch(charges: PointCharges, evaluation: Evaluation) -> tuple[Floats, Floats]:
    qm, mm = charges.switch_forces(np.asarray(evaluation.charge_gradient, dtype=float))
    return evaluation.forces + qm, evaluation.mm_forces + mm


def hand_over(system: openmm.System, region: set[int], force: RegionForce) -> None:
    """Give the QM `region` of a force-field `system` (changed in place) to `force`.

    Raises
    ------
    InputError
        The force field has a kind of force that is not known here.
    """
    for part in system.getForces():
        kind = type(part).__name__
        if kind not in _SILENCE:
            raise InputError(
                f"forces of the kinds {', '.join(_SILENCE)} were expected (got {kind}): use a fixed-charge force field",
                "system.forcefield",
            )
        _SILENCE[kind](part, region)
    python = openmm.PythonForce(force)
    python.setUsesPeriodicBoundaryConditions(system.usesPeriodicBoundaryConditions())
    system.addForce(python)


def _silence_bonds(force: Any, region: set[int]) -> None:
    for k in range(force.getNumBonds()):
        i, j, length, _ = force.getBondParameters(k)
        if {i, j} <= region:
            force.setBondParameters(k, i, j, length, 0.0)


def _silence_angles(force: Any, region: set[int]) -> None:
    for k in range(force.getNumAngles()):
        *atoms, angle, _ = force.getAngleParameters(k)
        if set(atoms) <= region:
            force.setAngleParameters(k, *atoms, angle, 0.0)


def _silence_torsions(force: Any, region: set[int]) -> None:
    for k in range(force.getNumTorsions()):
        *atoms, periodicity, phase, _ = force.getTorsionParameters(k)
        if set(atoms) <= region:
            force.setTorsionParameters(k, *atoms, periodicity, phase, 0.0)


def _silence_ryckaert_bellemans(force: Any, region: set[int]) -> None:
    for k in range(force.getNumTorsions()):
        atoms = force.getTorsionParameters(k)[:4]
        if set(atoms) <= region:
            force.setTorsionParameters(k, *atoms, *(6 * [0.0]))


def _silence_cmap(force: Any, region: set[int]) -> None:
    inside = [k for k in range(force.getNumTorsions()) if set(force.getTorsionParameters(k)[1:]) <= region]
    if not inside:
        return
    flat = force.addMap(4, [0.0] * 16)
    for k in inside:
        force.setTorsionParameters(k, flat, *force.getTorsionParameters(k)[1:])


def _silence_nonbonded(force: Any, region: set[int]) -> None:
    for i in region:
        _, sigma, epsilon = force.getParticleParameters(i)
        force.setParticleParameters(i, 0.0, sigma, epsilon)
    for i, j in itertools.combinations(sorted(region), 2):
        force.addException(i, j, 0.0, 0.1, 0.0, True)


def _leave(force: Any, region: set[int]) -> None:
    """Nothing to do: the force does not act inside the region."""


_SILENCE: dict[str, Callable[[Any, set[int]], None]] = {
    "HarmonicBondForce": _silence_bonds,
    "HarmonicAngleForce": _silence_angles,
    "PeriodicTorsionForce": _silence_torsions,
    "RBTorsionForce": _silence_ryckaert_bellemans,
    "CMAPTorsionForce": _silence_cmap,
    "NonbondedForce": _silence_nonbonded,
    "CMMotionRemover": _leave,
    "MonteCarloBarostat": _leave,
}
