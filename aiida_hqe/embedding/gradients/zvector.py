"""Solution of the coupled-perturbed equations ``(e_a - e_i) z_ai + [C_v^T A(z)]_ai = b_ai`` by conjugate gradients.

The preconditioner is the inverse of the orbital energies' part, or of the same equations with a response that is cheaper to
apply: each step with the true response then gains as many digits as the cheap one has, at what is left an exact solution.

Preconditioners must be positive, and differences of orbital energies need not be: far from equilibrium Kohn-Sham states are
minima whose highest occupied orbital lies above the lowest virtual one. Small and negative differences count as `FLOOR`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from aiida_hqe.errors import ConvergenceError
from aiida_hqe.frames import Floats

TOLERANCE = 1e-7
"""Largest element of the residual at convergence, hartree: the gradient is then good to about 1e-8 hartree/bohr."""

MAX_CYCLES = 100
"""Applications of the response operator."""

INNER_TOLERANCE = 3e-3
"""Residual of the preconditioning equations in units of what they are solved for: below what a cheap response is off by."""

FLOOR = 0.1
"""Difference of orbital energies that smaller ones count as where they precondition, hartree."""

Coupling = Callable[[Floats], Floats]
"""``A``: multipliers (n_v, n_o) to the response on the occupied orbitals (n, n_o) in any basis."""


@dataclasses.dataclass(frozen=True, eq=False)
class Equations:
    """Coupled-perturbed equations of a mean field.

    Attributes
    ----------
    energies
        Those of the occupied (n_o,) and of the virtual orbitals (n_v,), hartree.
    virtual
        Virtual orbitals C_v (n, n_v) in the basis of the response.
    coupling
        The response; ``C_v^T A`` is symmetric.
    what
        Name of the equations, for messages.
    rough
        A response that is nearly the same and much cheaper, if there is one.
    """

    energies: tuple[Floats, Floats]
    virtual: Floats
    coupling: Coupling
    what: str
    rough: Coupling | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Multipliers (n_v, n_o), the response to them (n, n_o), the largest element of the residual in hartree.

    And the last curvature of the energy that was met on the way, hartree: where it is not positive the equations end there.
    """

    z: Floats
    response: Floats
    residual: float
    curvature: float


def solve(equations: Equations, b: Floats) -> Solution:
    """Solve the equations for a right-hand side (n_v, n_o).

    Raises
    ------
    ConvergenceError
        The residual is above the tolerance after all cycles, or the mean field is no minimum of the energy but a saddle point.
    """
    rough, precondition = equations.rough, _by_energies(equations)
    if rough is not None:
        cheap = dataclasses.replace(equations, coupling=rough, rough=None)

        def precondition(r: Floats) -> Floats:
            z = _iterate(cheap, r, INNER_TOLERANCE * float(np.abs(r).max()), _by_energies(cheap)).z
            return z if z.any() else _by_energies(cheap)(r)

    found = _iterate(equations, b, TOLERANCE, precondition)
    if found.residual < TOLERANCE:
        return found
    why = f"in {MAX_CYCLES} cycles: set forces to none, or to another method"
    if found.curvature <= 0:
        why = (
            f"because its mean field is a saddle point (curvature of the energy at most {found.curvature:.1e} hartree, above 0"
            " expected): check the geometry and the spin state"
        )
    raise ConvergenceError(
        f"the z-vector equations of {equations.what} did not converge (residual {found.residual:.1e} hartree, below"
        f" {TOLERANCE:.0e} expected) {why}",
        found.residual,
    )


def _by_energies(equations: Equations) -> Callable[[Floats], Floats]:
    gap = np.maximum(_gap(equations), FLOOR)
    return lambda r: r / gap


def _gap(equations: Equations) -> Floats:
    return equations.energies[1][:, None] - equations.energies[0][None]


def _iterate(equations: Equations, b: Floats, tolerance: float, precondition: Callable[[Floats], Floats]) -> Solution:
    """Conjugate gradients with a preconditioner that may change from step to step; they end at a saddle point."""
    gap, C_v, curvature = _gap(equations), equations.virtual, np.inf
    z, response, r, left = np.zeros_like(b), np.zeros((len(C_v), b.shape[1])), b, MAX_CYCLES
    y = p = precondition(r)
    while np.abs(r).max(initial=0.0) >= tolerance and left:
        left -= 1
        change = equations.coupling(p)
        q = gap * p + C_v.T @ change
        curvature, descent = float(np.sum(p * q) / np.sum(p * p)), np.sum(r * y)
        if curvature <= 0:
            break
        step = descent / np.sum(p * q)
        z, response, previous = z + step * p, response + step * change, r
        r = r - step * q
        y = precondition(r)
        p = y + np.sum(y * (r - previous)) / descent * p
    return Solution(z, response, float(np.abs(r).max(initial=0.0)), curvature)
