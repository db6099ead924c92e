"""Forces of the target level, collected core by core: those of its energy, or of another method of the same cores."""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding import correlation, meanfield
from aiida_hqe.embedding.correlation import Correlation
from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.gradients.forces import CoreGradients, Gradient
from aiida_hqe.embedding.gradients.one_electron import charge_derivatives, nuclear_charge_derivatives
from aiida_hqe.embedding.level import CompositeForces, Level
from aiida_hqe.embedding.meanfield import EmbeddedState, HartreeFock
from aiida_hqe.frames import Floats
from aiida_hqe.units import HARTREE, HARTREE_PER_BOHR


@dataclasses.dataclass(frozen=True, eq=False)
class Forces:
    """Forces of one energy, in eV, angstrom and e.

    Attributes
    ----------
    method
        Method of the cores.
    energy
        Energy whose derivatives these are (eV).
    atoms, charges
        Forces on QM atoms (n_qm, 3) and on point charges (n_mm, 3), eV/angstrom.
    charge_gradient
        Derivative of the energy with the values of the charges (n_mm,), eV/e: the potential of the QM region where they are.
    """

    method: str
    energy: float
    atoms: Floats
    charges: Floats
    charge_gradient: Floats


class TargetForces:
    """Analytic forces of the target level, while its cores are calculated one after another.

    Parameters
    ----------
    state
        Converged environment.
    level
        Level with analytic or composite forces.
    """

    def __init__(self, state: EnvironmentState, level: Level) -> None:
        self._state, self._level = state, level
        self._core = level.force_core or level.core
        self._gradients = CoreGradients(state, self._core)
        self._energy = state.energy
        self._dispersion = np.zeros((state.mol.natm, 3))

    @property
    def high(self) -> HartreeFock | None:
        """Two-electron integrals of the forces, where they are those of the energies too."""
        return self._gradients.high if self._core.density_fit == self._level.core.density_fit else None

    def add(self, embedded: EmbeddedState, correlated: Correlation) -> None:
        """Add one core, solved for its energy; composite forces solve it again by their own method.

        Raises
        ------
        HQEError
            As for energies; `ConvergenceError` also where z-vector equations do not converge.
        """
        if isinstance(self._level.forces, CompositeForces):
            if self.high is None:
                split, settings = embedded.partition, self._level.embedding
                embedded = meanfield.embed(self._state, split, settings, self._gradients.high)
            correlated = correlation.correlate(embedded, self._gradients.high, self._core)
        self._gradients.add(embedded, correlated)
        self._energy += embedded.energy + correlated.correlation + correlated.triples
        if self._state.dispersion:  # the core's own method replaces that among its atoms
            self._energy -= self._state.dispersion.within(embedded.partition.atoms)
            self._dispersion -= self._state.dispersion.gradient_within(embedded.partition.atoms)

    def total(self) -> tuple[Forces, Forces]:
        """Forces of the environment and of the target level, made together.

        Raises
        ------
        ConvergenceError
            The z-vector equations of the environment did not converge.
        """
        environment, added = self._gradients.total()
        if self._state.dispersion:
            atoms = environment.atoms + self._state.dispersion.gradient
            environment = dataclasses.replace(environment, atoms=atoms)
        energy = self._state.energy * HARTREE
        target = environment + added
        target = dataclasses.replace(target, atoms=target.atoms + self._dispersion)
        return _forces("environment", energy, environment), _forces(self._core.method, self._energy * HARTREE, target)


def environment_forces(state: EnvironmentState) -> Forces:
    """Forces of the environment alone."""
    electrons = charge_derivatives(state, state.density.sum(axis=0))
    potential = HARTREE * (electrons + nuclear_charge_derivatives(state))
    return Forces("environment", state.energy * HARTREE, *state.forces(), potential)


def _forces(method: str, energy: float, gradient: Gradient) -> Forces:
    """Forces from a gradient in atomic units."""
    return Forces(
        method,
        energy,
        -HARTREE_PER_BOHR * gradient.atoms,
        -HARTREE_PER_BOHR * gradient.charges,
        HARTREE * gradient.charge_values,
    )
