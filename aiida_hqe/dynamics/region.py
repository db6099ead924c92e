"""ML/MM Hamiltonian in OpenMM: the force field loses what happens inside the QM region, a driver supplies it.

    E = E_FF(all terms that reach outside the region, QM charges zero) + E_driver(QM atoms; effective point charges)

Lennard-Jones terms between QM and MM stay; electrostatics between them are the driver's. Bonded terms inside the region keep
their atoms with a force constant of zero, because OpenMM reads from them which atoms form a molecule.

Where the region cuts a bond, the driver sees a link atom on it in place of the MM atom (the host): angles, torsions and
impropers of QM atoms and hosts alone are those of the capped molecule, which the driver describes, and go. The length of the
cut bond, which the driver cannot see, and every term that reaches beyond the hosts stay. Between MM atoms the host's charge is
that of the force field and what balances the charges of the QM atoms.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import openmm
from openmm import unit

from aiida_hqe.dynamics.driver import Driver, Evaluation
from aiida_hqe.errors import HQEError, InputError
from aiida_hqe.frames import Floats
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.boundary import Boundary
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

    @property
    def boundary(self) -> Boundary:
        """Link atoms of the region."""
        return self._assembly.boundary

    def energy_and_forces(self, positions: Floats, box: Floats | None) -> tuple[float, Floats]:
        """Energy (eV) and forces on all atoms (n, 3) (eV/angstrom), those through the switch included."""
        charges = self._assembly.point_charges(positions, box)
        evaluation = self._driver.evaluate(self._assembly.frame_of(charges))
        self.evaluation = evaluation
        qm, mm = _with_switch(charges, evaluation)
        return float(evaluation.energy), self._assembly.atom_forces(charges, qm, mm, positions)


def _with_switch(charges: PointCharges, evaluation: Evaluation) -> tuple[Floats, Floats]:
    qm, mm = charges.switch_forces(np.asarray(evaluation.charge_gradient, dtype=float))
    return evaluation.forces + qm, evaluation.mm_forces + mm


@dataclasses.dataclass(frozen=True)
class _Region:
    """Atoms of the QM region, and of its boundary.

    Attributes
    ----------
    atoms
        QM atoms.
    cuts
        QM atom and host of each bond that carries a link atom.
    balance
        What the charge of each host gains, e.
    """

    atoms: set[int]
    cuts: set[frozenset[int]]
    balance: dict[int, float]

    @classmethod
    def of(cls, atoms: set[int], boundary: Boundary) -> _Region:
        cuts = {frozenset(link) for link in boundary.links.tolist()}
        return cls(atoms, cuts, dict(zip(boundary.hosts.tolist(), boundary.balance.tolist(), strict=True)))

    def describes(self, term: Iterable[int]) -> bool:
        """Whether a bonded term is one of the capped molecule, so that the driver has it."""
        atoms = set(term)
        return bool(atoms & self.atoms) and atoms <= self.atoms | self.balance.keys() and atoms not in self.cuts


def hand_over(system: openmm.System, region: set[int], force: RegionForce) -> None:
    """Give the QM `region` of a force-field `system` (changed in place) to `force`.

    Raises
    ------
    InputError
        The force field has a kind of force that is not known here.
    """
    own = _Region.of(region, force.boundary)
    for part in system.getForces():
        kind = type(part).__name__
        if kind not in _SILENCE:
            raise InputError(
                f"forces of the kinds {', '.join(_SILENCE)} were expected (got {kind}): use a fixed-charge force field",
                "system.forcefield",
            )
        _SILENCE[kind](part, own)
    python = openmm.PythonForce(force)
    python.setUsesPeriodicBoundaryConditions(system.usesPeriodicBoundaryConditions())
    system.addForce(python)


def _silence_bonds(force: Any, region: _Region) -> None:
    for k in range(force.getNumBonds()):
        i, j, length, _ = force.getBondParameters(k)
        if region.describes((i, j)):
            force.setBondParameters(k, i, j, length, 0.0)


def _silence_angles(force: Any, region: _Region) -> None:
    for k in range(force.getNumAngles()):
        *atoms, angle, _ = force.getAngleParameters(k)
        if region.describes(atoms):
            force.setAngleParameters(k, *atoms, angle, 0.0)


def _silence_torsions(force: Any, region: _Region) -> None:
    for k in range(force.getNumTorsions()):
        *atoms, periodicity, phase, _ = force.getTorsionParameters(k)
        if region.describes(atoms):
            force.setTorsionParameters(k, *atoms, periodicity, phase, 0.0)


def _silence_ryckaert_bellemans(force: Any, region: _Region) -> None:
    for k in range(force.getNumTorsions()):
        atoms = force.getTorsionParameters(k)[:4]
        if region.describes(atoms):
            force.setTorsionParameters(k, *atoms, *(6 * [0.0]))


def _silence_cmap(force: Any, region: _Region) -> None:
    inside = [k for k in range(force.getNumTorsions()) if region.describes(force.getTorsionParameters(k)[1:])]
    if not inside:
        return
    flat = force.addMap(4, [0.0] * 16)
    for k in inside:
        force.setTorsionParameters(k, flat, *force.getTorsionParameters(k)[1:])


def _silence_nonbonded(force: Any, region: _Region) -> None:
    for k in range(force.getNumExceptions()):
        i, j, _, sigma, epsilon = force.getExceptionParameters(k)
        if region.atoms & {i, j}:
            force.setExceptionParameters(k, i, j, 0.0, sigma, epsilon)
    for i in region.atoms:
        _, sigma, epsilon = force.getParticleParameters(i)
        force.setParticleParameters(i, 0.0, sigma, epsilon)
    for i, gained in region.balance.items():
        charge, sigma, epsilon = force.getParticleParameters(i)
        force.setParticleParameters(i, charge + gained * unit.elementary_charge, sigma, epsilon)
    for i, j in itertools.combinations(sorted(region.atoms), 2):
        force.addException(i, j, 0.0, 0.1, 0.0, True)


def _leave(force: Any, region: _Region) -> None:
    """Nothing to do: the force does not act inside the region."""


_SILENCE: dict[str, Callable[[Any, _Region], None]] = {
    "HarmonicBondForce": _silence_bonds,
    "HarmonicAngleForce": _silence_angles,
    "PeriodicTorsionForce": _silence_torsions,
    "RBTorsionForce": _silence_ryckaert_bellemans,
    "CMAPTorsionForce": _silence_cmap,
    "NonbondedForce": _silence_nonbonded,
    "CMMotionRemover": _leave,
    "MonteCarloBarostat": _leave,
}
