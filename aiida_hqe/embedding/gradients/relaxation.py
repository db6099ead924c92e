"""Relaxation of the embedded orbitals: relaxed density and generalised Fock matrix of one core.

The canonical Hartree-Fock orbitals of the core are fixed by two conditions, which two multipliers impose: frozen orbitals do
not mix with correlated ones (closed form) and occupied ones not with virtual ones (z-vector equations).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.embedding.gradients import zvector
from aiida_hqe.embedding.gradients.density import CoreDensity
from aiida_hqe.embedding.gradients.repulsion import Repulsion
from aiida_hqe.embedding.gradients.response import Response
from aiida_hqe.embedding.gradients.truncation import Truncation, multipliers
from aiida_hqe.frames import Floats


@dataclasses.dataclass(frozen=True, eq=False)
class Relaxed:
    """Relaxed wave function of a core.

    Attributes
    ----------
    D
        Hartree-Fock density (n_ao, n_ao).
    gamma
        Relaxed correlated change of the density (n_ao, n_ao): unrelaxed and z-vector part.
    I
        Generalised Fock matrix ``dE/dC`` (n_ao, n): derivative of the Lagrangian with the orbital coefficients.
    X
        What conditions of a truncated virtual space contract with overlap derivatives (n_ao, n_ao); ``None`` without.
    """

    D: Floats
    gamma: Floats
    I: Floats  # noqa: E741 (symbol of the derivation)
    X: Floats | None = None

    @property
    def density(self) -> Floats:
        """Relaxed one-particle density of the core (n_ao, n_ao)."""
        return self.D + self.gamma


def relax(core: CoreDensity, fock: Floats, G: Response, repulsion: Repulsion) -> Relaxed:
    """Relaxed density and generalised Fock matrix.

    Parameters
    ----------
    core
        Unrelaxed densities.
    fock
        Fock matrix of the core (n_ao, n_ao).
    G
        Response of the high level's Hartree-Fock potential on the occupied orbitals of the core.
    repulsion
        Integrals of the high level.

    Raises
    ------
    ConvergenceError
        The z-vector equations of the core did not converge.
    """
    C, C_o, n = core.orbitals, core.occupied, core.n_occupied
    D, gamma, generalised, X = 2.0 * C_o @ C_o.T, core.gamma, np.zeros_like(C), None
    generalised[:, :n] = 4.0 * fock @ C_o
    if core.two is not None:
        _, left, right = repulsion.contract(core.two)
        generalised[:, core.two.p] += left
        generalised[:, core.two.q] += right
        generalised += _one_particle(core, fock, gamma, G(C @ gamma @ C.T))
        if core.truncation is not None:
            z, derivative, X = _truncation_multipliers(core, core.truncation, generalised)
            gamma = gamma + z
            generalised += derivative + _one_particle(core, fock, z, G(C @ z @ C.T))
        for multiplier in (_frozen_multiplier, _virtual_multiplier):
            z, response = multiplier(core, C.T @ generalised, G)
            gamma = gamma + z
            generalised += _one_particle(core, fock, z, response)
    return Relaxed(D, C @ gamma @ C.T, generalised, X)


def _one_particle(core: CoreDensity, fock: Floats, gamma: Floats, response: Floats) -> Floats:
    """Derivative of ``tr F gamma`` with the orbitals: ``2 F C gamma``, and ``4 G(gamma) C_o`` of the occupied ones."""
    derivative = 2.0 * fock @ core.orbitals @ gamma
    derivative[:, : core.n_occupied] += 4.0 * response
    return derivative


def _truncation_multipliers(core: CoreDensity, space: Truncation, generalised: Floats) -> tuple[Floats, Floats, Floats]:
    """Multipliers of the shells as a density (n, n), and what they add to the generalised Fock matrix and to `Relaxed.X`."""
    n, C_v = core.n_occupied, core.virtual
    turn = np.linalg.lstsq(C_v, space.orbitals, rcond=None)[0]
    found = multipliers(space, space.orbitals.T @ generalised[:, n:] @ turn)
    z, derivative = np.zeros_like(core.gamma), np.zeros_like(generalised)
    z[n:, n:] = turn @ found.density @ turn.T
    derivative[:, n:] = found.derivative @ turn.T
    return z, derivative, found.overlap


def _frozen_multiplier(core: CoreDensity, moment: Floats, G: Response) -> tuple[Floats, Floats]:
    """``2 z_fi = -(I_fi - I_if) / (e_f - e_i)`` between frozen and correlated orbitals, symmetric (n, n), and ``G(z) C_o``."""
    z, C = np.zeros_like(moment), core.orbitals
    f, i = slice(0, core.n_frozen), slice(core.n_frozen, core.n_occupied)
    if not core.n_frozen:
        return z, np.zeros_like(core.occupied)
    z[f, i] = -0.5 * (moment[f, i] - moment[i, f].T) / (core.energies[f][:, None] - core.energies[i][None])
    z[i, f] = z[f, i].T
    return z, G(C @ z @ C.T)


def _virtual_multiplier(core: CoreDensity, moment: Floats, G: Response) -> tuple[Floats, Floats]:
    """``(e_a - e_i) z_ai + [C_v^T G(2 C_v z C_o^T + h.c.) C_o]_ai = -(I_ai - I_ia)``, as a density (n, n); ``G(z) C_o``."""
    C_o, n = core.occupied, core.n_occupied
    C_v, e_v, turn = core.canonical()

    def coupling(z: Floats) -> Floats:
        X = 2.0 * C_v @ z @ C_o.T
        return G(X + X.T)

    equations = zvector.Equations((core.energies[:n], e_v), C_v, coupling, "the quantum core")
    solved = zvector.solve(equations, turn.T @ (moment[:n, n:].T - moment[n:, :n]))
    density = np.zeros_like(moment)
    density[n:, :n] = 0.5 * turn @ solved.z
    density[:n, n:] = density[n:, :n].T
    return density, 0.25 * solved.response
