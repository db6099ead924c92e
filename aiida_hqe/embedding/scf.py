"""The ladder of self-consistent-field strategies: what fails on one rung is tried on the next, and the rung is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_hqe.errors import ConvergenceError

ENERGY_TOLERANCE = 1e-9
"""Change of the energy between cycles at convergence, hartree."""

GRADIENT_TOLERANCE = 1e-6
"""Orbital gradient at convergence: embedded energies are first order in it."""

DESCENTS = 5
"""Times that the second-order solver, which also stops at saddle points of the energy, is sent on downhill from one."""


def _diis(mf: Any) -> Any:
    return mf


def _damped(mf: Any) -> Any:
    mf.damp, mf.level_shift, mf.diis_start_cycle, mf.max_cycle = 0.3, 0.3, 4, 200
    return mf


def _second_order(mf: Any) -> Any:
    mf = mf.newton()
    mf.max_cycle = 100
    return mf


def _other_guess(mf: Any) -> Any:
    mf = mf.newton()
    mf.init_guess, mf.max_cycle = "huckel", 100
    return mf


RUNGS: dict[str, Callable[[Any], Any]] = {
    "diis": _diis,
    "damping": _damped,
    "second-order": _second_order,
    "huckel-second-order": _other_guess,
}
"""Order of the ladder: DIIS; damping with level shift; second-order solver; that solver from a Hueckel guess."""


class Converged(NamedTuple):
    """A converged mean field.

    Attributes
    ----------
    mf
        The object PySCF converged (never a second-order wrapper).
    rung
        Name of the rung that converged it.
    potential
        PySCF's effective potential at the final density; ``None`` from the second-order solver, which keeps none.
    """

    mf: Any
    rung: str
    potential: Any


def converge(build: Callable[[], Any]) -> Converged:
    """Converge the mean field that `build` makes anew for every rung.

    Raises
    ------
    ConvergenceError
        No rung converged; carries the orbital gradient of the last one.
    """
    residual = float("inf")
    for rung, prepare in RUNGS.items():
        plain = build()
        plain.conv_tol, plain.conv_tol_grad, plain.conv_check = ENERGY_TOLERANCE, GRADIENT_TOLERANCE, False
        plain.chkfile = None
        solver = prepare(plain)
        solver.conv_tol, solver.conv_tol_grad = ENERGY_TOLERANCE, GRADIENT_TOLERANCE
        last: dict[str, Any] = {}
        if solver is plain:
            plain.callback = lambda cycle, last=last: last.update(potential=cycle["vhf"])
        solver.kernel()
        plain.callback = None
        if solver is not plain:
            _descend(solver)
        if solver.converged:
            for name in ("mo_coeff", "mo_occ", "mo_energy", "e_tot", "converged"):
                setattr(plain, name, getattr(solver, name))
            plain.damp, plain.level_shift = 0, 0
            return Converged(plain, rung, last.get("potential"))
        residual = _residual(plain, solver)
    raise ConvergenceError(
        f"the environment's Kohn-Sham equations did not converge to a minimum (orbital gradient {residual:.1e}, below"
        f" {GRADIENT_TOLERANCE:.0e} expected) after {', '.join(RUNGS)}: check charge, spin and geometry,"
        " or choose a hybrid functional",
        residual,
    )


def _descend(solver: Any) -> None:
    """Lead a second-order solver from a saddle point to a minimum among states of its kind; it has not converged without one."""
    for descent in range(DESCENTS + 1):
        if not solver.converged:
            return
        orbitals, _, stable, _ = solver.stability(return_status=True)
        if stable:
            return
        if descent < DESCENTS:
            solver.kernel(orbitals, solver.mo_occ)
    solver.converged = False


def _residual(plain: Any, solver: Any) -> float:
    fock = plain.get_fock(dm=solver.make_rdm1(solver.mo_coeff, solver.mo_occ))
    return float(np.linalg.norm(plain.get_grad(solver.mo_coeff, solver.mo_occ, fock)))
