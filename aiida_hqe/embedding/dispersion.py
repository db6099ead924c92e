"""Empirical dispersion of the environment, D3(BJ) or D4, from the packages ``dftd3`` and ``dftd4`` (optional extra).

S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 2011, 32, 1456, doi:10.1002/jcc.21759; E. Caldeweyher et al., J. Chem. Phys.
2019, 150, 154122, doi:10.1063/1.5090222.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from aiida_hqe.embedding.level import Environment
from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.units import BOHR

STEP = 0.01
"""Displacement for the gradient of shares of pairs, bohr."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dispersion:
    """Dispersion of the QM atoms, in atomic units.

    Attributes
    ----------
    energy, gradient
        Energy, and its gradient (n_qm, 3).
    pairs
        Share of each pair of atoms in the energy (n_qm, n_qm), which is their sum.
    positions, pairs_at
        Positions (n_qm, 3), and `pairs` as a function of them.
    """

    energy: float
    gradient: Floats
    pairs: Floats
    positions: Floats
    pairs_at: Callable[[Floats], Floats]

    def within(self, atoms: list[int]) -> float:
        """Dispersion among `atoms`: what a core's own method replaces."""
        return float(self.pairs[np.ix_(atoms, atoms)].sum())

    def gradient_within(self, atoms: list[int]) -> Floats:
        """Gradient of `within` (n_qm, 3): it reaches all atoms, through their coordination numbers.

        The packages give that of the whole energy. Shares of pairs are closed functions of the positions, without
        iteration or grid: their differences by the five-point formula are exact to about 1e-12 hartree/bohr.
        """
        if len(atoms) == len(self.positions):
            return self.gradient
        block, gradient = np.ix_(atoms, atoms), np.zeros_like(self.positions)
        for site in np.ndindex(gradient.shape):
            shares = []
            for step in (-2, -1, 1, 2):
                moved = self.positions.copy()
                moved[site] += step * STEP
                shares.append(float(self.pairs_at(moved)[block].sum()))
            gradient[site] = np.dot([1, -8, 8, -1], shares) / (12 * STEP)
        return gradient


def dispersion(frame: Frame, settings: Environment) -> Dispersion | None:
    """Dispersion of a frame, ``None`` where the level has none.

    Raises
    ------
    ResourceError
        The package is not installed.
    InputError
        The package has no parameters for the functional.
    """
    if settings.dispersion is None:
        return None
    model, parameters = _model(frame, settings)
    found = model.get_dispersion(parameters, grad=True)
    positions = frame.positions / BOHR

    def pairs_at(positions: Floats) -> Floats:
        model.update(np.ascontiguousarray(positions))
        return np.asarray(sum(model.get_pairwise_dispersion(parameters).values()))

    return Dispersion(
        float(found["energy"]), np.asarray(found["gradient"]), pairs_at(positions), positions.copy(), pairs_at
    )


def _model(frame: Frame, settings: Environment) -> tuple[Any, Any]:
    """Model of the atoms and damping parameters of the functional."""
    positions = frame.positions / BOHR
    try:
        if settings.dispersion == "d3bj":
            d3: Any = import_module("dftd3.interface")
            return d3.DispersionModel(frame.numbers, positions), d3.RationalDampingParam(method=settings.xc)
        d4: Any = import_module("dftd4.interface")
        model = d4.DispersionModel(frame.numbers, positions, charge=float(frame.charge))
        return model, d4.DampingParam(method=settings.xc)
    except ImportError as error:
        raise ResourceError(
            f"dispersion {settings.dispersion} needs a package that is not installed ({error.name}):"
            " pip install 'aiida-hqe[dispersion]'"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"a functional with {settings.dispersion} parameters was expected (got {settings.xc!r}: {error}): name it"
            " as that package does (pbe, pbe0, b3lyp ...), or set dispersion to null",
            "environment.dispersion",
        ) from error
