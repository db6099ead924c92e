r"""A bias along one coordinate, :math:`x = \sum_k s_k d_k` with distances d between two atoms and signs s.

``harmonic`` adds :math:`\tfrac{1}{2} k_B T ((x - x_0) / w)^2`: alone, x would fluctuate about the centre with standard
deviation w. ``metadynamics`` adds well-tempered Gaussians where x has been (A. Barducci, G. Bussi, M. Parrinello, Phys. Rev.
Lett. 2008, 100, 020603, doi:10.1103/PhysRevLett.100.020603), on a grid whose end values hold outside of it.
"""

from __future__ import annotations

import numpy as np
import openmm

from aiida_hqe.dynamics.settings import BiasSettings
from aiida_hqe.frames import Floats
from aiida_hqe.units import BOLTZMANN, KJ_PER_MOL, NM

_POINTS_PER_WIDTH = 10


class Bias:
    """The bias of one run; `force` belongs to its system.

    Parameters
    ----------
    settings
        Coordinate and kind of bias.
    temperature
        Of the run, K.
    n_atoms
        Number of atoms of the system.
    periodic
        Whether distances follow the minimum image.

    Raises
    ------
    InputError
        There is no such atom.
    """

    def __init__(self, settings: BiasSettings, temperature: float, n_atoms: int, periodic: bool) -> None:
        settings.check(n_atoms)
        self.settings = settings
        self._kt = BOLTZMANN * temperature
        self.force = openmm.CustomCVForce(self._expression())
        self.force.addCollectiveVariable("x", _coordinate(settings, periodic))
        self._table: openmm.Continuous1DFunction | None = None
        self.heights = np.zeros(0)
        if settings.kind == "metadynamics":
            self._grid = self._points()
            self.heights = np.zeros(len(self._grid))
            ends = float(self._grid[0] / NM), float(self._grid[-1] / NM)
            self._table = openmm.Continuous1DFunction(self.heights, *ends)
            self.force.addTabulatedFunction("hills", self._table)

    def coordinate(self, context: openmm.Context) -> float:
        """The coordinate as it is now, angstrom."""
        return float(self.force.getCollectiveVariableValues(context)[0]) * NM

    def deposit(self, context: openmm.Context) -> None:
        """Add a Gaussian where the coordinate is now, lower where there are many already; nothing for a harmonic bias."""
        if self._table is None:
            return
        x = self.coordinate(context)
        present = float(np.interp(x, self._grid, self.heights))
        height = self.settings.height * np.exp(-present / (self._kt * (self.settings.bias_factor - 1.0)))
        self.restore(context, self.heights + height * np.exp(-0.5 * ((self._grid - x) / self.settings.width) ** 2))

    def restore(self, context: openmm.Context, heights: Floats) -> None:
        """Set the bias potential on its grid (eV)."""
        if self._table is not None:
            self.heights = np.array(heights)
            ends = float(self._grid[0] / NM), float(self._grid[-1] / NM)
            self._table.setFunctionParameters(self.heights / KJ_PER_MOL, *ends)
            self.force.updateParametersInContext(context)

    def _expression(self) -> str:
        settings = self.settings
        if settings.kind == "harmonic":
            assert settings.centre is not None
            stiffness = self._kt / KJ_PER_MOL * (NM / settings.width) ** 2
            return f"{0.5 * stiffness!r}*(x-{settings.centre / NM!r})^2"
        assert settings.lower is not None
        assert settings.upper is not None
        return f"hills(min({settings.upper / NM!r},max({settings.lower / NM!r},x)))"

    def _points(self) -> Floats:
        settings = self.settings
        assert settings.lower is not None
        assert settings.upper is not None
        count = int(np.ceil((settings.upper - settings.lower) / settings.width * _POINTS_PER_WIDTH)) + 1
        return np.linspace(settings.lower, settings.upper, max(count, 4))


def _coordinate(settings: BiasSettings, periodic: bool) -> openmm.Force:
    count = len(settings.distances)
    signs = settings.signs or [1] * count
    terms = (f"({sign})*distance(p{2 * k + 1},p{2 * k + 2})" for k, sign in enumerate(signs))
    force = openmm.CustomCompoundBondForce(2 * count, "+".join(terms))
    force.addBond([atom for pair in settings.distances for atom in pair])
    force.setUsesPeriodicBoundaryConditions(periodic)
    return force
