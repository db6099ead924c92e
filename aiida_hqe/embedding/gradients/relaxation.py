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
    """

    D: Floats
    gamma: Floats
    I: Floats  # noqa: E741 (symbol of the derivation)

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
        Response of the high level's Hartree-Fock potential.
    repulsion
        Integrals of the high level.

    Raises
    ------
    ConvergenceError
        The z-vector equations of the core did not converge.
    """
    C, C_o = core.orbitals, core.occupied
    D = 2.0 * C_o @ C_o.T
    correlated = np.zeros_like(C)
    if core.two is not None:
        _, left, right = repulsion.contract(core.two)
        correlated[:, core.two.p] += left
        correlated[:, core.two.q] += right
    gamma = core.gamma
    if core.two is not None:
        gamma = gamma + _frozen_multiplier(core, C.T @ (correlated + _one_particle(core, fock, G, gamma)))
        gamma = gamma + _virtual_multiplier(core, C.T @ (correlated + _one_particle(core, fock, G, gamma)), G)
    generalised = correlated + _one_particle(core, fock, G, gamma)
    generalised[:, : core.n_occupied] += 4.0 * fock @ C_o
    return Relaxed(D, C @ gamma @ C.T, generalised)


def _one_particle(core: CoreDensity, fock: Floats, G: Response, gamma: Floats) -> Floats:
    """Derivative of ``tr F gamma`` with the orbitals: ``2 F C gamma``, and ``4 G(gamma) C_o`` of the occupied ones."""
    C = core.orbitals
    derivative = 2.0 * fock @ C @ gamma
    derivative[:, : core.n_occupied] += 4.0 * G(C @ gamma @ C.T) @ core.occupied
    return derivative


def _frozen_multiplier(core: CoreDensity, moment: Floats) -> Floats:
    """``2 z_fi = -(I_fi - I_if) / (e_f - e_i)`` between frozen and correlated occupied orbitals, symmetric (n, n)."""
    z = np.zeros_like(moment)
    f, i = slice(0, core.n_frozen), slice(core.n_frozen, core.n_occupied)
    z[f, i] = -0.5 * (moment[f, i] - moment[i, f].T) / (core.energies[f][:, None] - core.energies[i][None])
    z[i, f] = z[f, i].T
    return z


def _virtual_multiplier(core: CoreDensity, moment: Floats, G: Response) -> Floats:
    """``(e_a - e_i) z_ai + [C_v^T G(2 C_v z C_o^T + h.c.) C_o]_ai = -(I_ai - I_ia)``, as a symmetric density (n, n)."""
    C_o, C_v, n = core.occupied, core.virtual, core.n_occupied

    def coupling(z: Floats) -> Floats:
        X = 2.0 * C_v @ z @ C_o.T
        return np.asarray(C_v.T @ G(X + X.T) @ C_o)

    b = moment[:n, n:].T - moment[n:, :n]
    z = zvector.solve((core.energies[:n], core.energies[n:]), coupling, b, "the quantum core")
    density = np.zeros_like(moment)
    density[n:, :n] = 0.5 * z
    density[:n, n:] = 0.5 * z.T
    return density
