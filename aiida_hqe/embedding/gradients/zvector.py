"""Solution of the coupled-perturbed equations ``(e_a - e_i) z_ai + [A z]_ai = b_ai`` by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_hqe.errors import ConvergenceError
from aiida_hqe.frames import Floats

TOLERANCE = 1e-7
"""Largest element of the residual at convergence, hartree: the gradient is then good to about 1e-8 hartree/bohr."""

MAX_CYCLES = 100
"""Applications of the response operator."""


def solve(energies: tuple[Floats, Floats], coupling: Callable[[Floats], Floats], b: Floats, what: str) -> Floats:
    """Solve ``(e_a - e_i) z_ai + [A z]_ai = b_ai``, preconditioned by the orbital energies.

    Parameters
    ----------
    energies
        Those of the occupied (n_o,) and of the virtual orbitals (n_v,), hartree.
    coupling
        The symmetric operator ``A``, (n_v, n_o) to the same shape.
    b
        Right-hand side (n_v, n_o).
    what
        Name of the equations, for the message.

    Returns
    -------
    array (n_v, n_o)

    Raises
    ------
    ConvergenceError
        The residual is above the tolerance after all cycles, or the operator is not positive: the mean field is no minimum.
    """
    gap = energies[1][:, None] - energies[0][None]
    z, r = np.zeros_like(b), b.copy()
    y = r / gap
    p, rho = y, np.sum(r * y)
    for _ in range(MAX_CYCLES):
        if np.abs(r).max(initial=0.0) < TOLERANCE:
            return z
        q = gap * p + coupling(p)
        curvature = np.sum(p * q)
        if curvature <= 0:
            break
        z = z + rho / curvature * p
        r = r - rho / curvature * q
        y = r / gap
        previous, rho = rho, np.sum(r * y)
        p = y + rho / previous * p
    residual = float(np.abs(r).max())
    raise ConvergenceError(
        f"the z-vector equations of {what} did not converge (residual {residual:.1e} hartree, below {TOLERANCE:.0e} expected)"
        f" in {MAX_CYCLES} cycles or met a mean field that is no minimum: check its stability, or set forces to none",
        residual,
    )
