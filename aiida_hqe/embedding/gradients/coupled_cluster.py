"""Unrelaxed coupled-cluster densities of a core: CCSD and CCSD(T), from PySCF's amplitudes and multipliers."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from pyscf.cc import ccsd_lambda, ccsd_rdm, ccsd_t_lambda, ccsd_t_rdm

from aiida_hqe.embedding.gradients.density import CoreDensity
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.gradients.repulsion import TwoParticle
from aiida_hqe.errors import ConvergenceError, ResourceError
from aiida_hqe.frames import Floats

TOLERANCE = 1e-6
"""Norm of the change of the multipliers at convergence."""

MAX_CYCLES = 100
"""Iterations of the multipliers."""

COPIES = 4
"""Two-particle densities that are held at the same time at most."""


def coupled_cluster_density(
    hartree_fock: CoreDensity, repulsion: Exact | Fitted, amplitudes: tuple[Any, Any], *, triples: bool
) -> CoreDensity:
    """Density of CCSD, or of CCSD(T).

    Parameters
    ----------
    hartree_fock
        Density of the mean field.
    repulsion
        Integrals of the high level.
    amplitudes
        PySCF's converged solver and its integrals.

    Raises
    ------
    ConvergenceError
        The equations of the multipliers did not converge.
    ResourceError
        The two-particle density does not fit into the memory of this machine.
    """
    _check_memory(hartree_fock.orbitals.shape[1] - hartree_fock.n_frozen)
    one, Gamma = (_with_triples if triples else _without_triples)(*amplitudes)
    active = slice(hartree_fock.n_frozen, None)
    gamma = np.zeros_like(hartree_fock.gamma)
    gamma[active, active] = 0.5 * (one + one.T)
    Gamma = _symmetric(Gamma)
    if isinstance(repulsion, Fitted):
        C = hartree_fock.orbitals[:, active]
        Gamma = np.einsum("pqrs,Prs->Ppq", Gamma, repulsion.fitted(C, C), optimize=True)
    return dataclasses.replace(hartree_fock, gamma=gamma, two=TwoParticle(hartree_fock.orbitals, active, active, Gamma))


def _check_memory(n: int) -> None:
    """Raise `ResourceError` where two-particle densities of `n` orbitals are larger than the machine's memory."""
    needed, there = COPIES * 8 * n**4, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ResourceError(
            f"coupled-cluster forces of {n} correlated orbitals need {needed / 1e9:.0f} GB (this machine has"
            f" {there / 1e9:.0f} GB): choose mp2 with density_fit, a smaller basis, or set forces to none"
        )


def _without_triples(solver: Any, eris: Any) -> tuple[Floats, Floats]:
    amplitudes = _amplitudes(solver, eris, ccsd_lambda.kernel)
    d1 = ccsd_rdm._gamma1_intermediates(solver, *amplitudes)
    return _assemble(solver, d1, ccsd_rdm._gamma2_intermediates(solver, *amplitudes))


def _with_triples(solver: Any, eris: Any) -> tuple[Floats, Floats]:
    amplitudes = _amplitudes(solver, eris, ccsd_t_lambda.kernel)
    d1 = ccsd_t_rdm._gamma1_intermediates(solver, *amplitudes, eris, for_grad=True)
    return _assemble(solver, d1, ccsd_t_rdm._gamma2_intermediates(solver, *amplitudes, eris))


def _amplitudes(solver: Any, eris: Any, kernel: Any) -> tuple[Floats, Floats, Floats, Floats]:
    """Amplitudes and multipliers of singles and doubles, t1, t2, l1, l2."""
    t1, t2 = solver.t1, solver.t2
    converged, l1, l2 = kernel(solver, eris, t1, t2, max_cycle=MAX_CYCLES, tol=TOLERANCE, verbose=0)
    if not converged:
        raise ConvergenceError(
            f"the coupled-cluster multipliers of the core did not converge in {MAX_CYCLES} cycles: choose mp2, or set"
            " forces to none"
        )
    return t1, t2, l1, l2


def _assemble(solver: Any, d1: Any, d2: Any) -> tuple[Floats, Floats]:
    """Correlated part of the one-particle density, and what of the two-particle density is no product."""
    one = ccsd_rdm._make_rdm1(solver, d1, with_frozen=False, with_mf=False)
    return one, ccsd_rdm._make_rdm2(solver, d1, d2, with_dm1=False, with_frozen=False)


def _symmetric(Gamma: Floats) -> Floats:
    """The part of a two-particle density that has the symmetry of real integrals."""
    Gamma = Gamma + Gamma.transpose(1, 0, 2, 3)
    Gamma = Gamma + Gamma.transpose(0, 1, 3, 2)
    return 0.125 * (Gamma + Gamma.transpose(2, 3, 0, 1))
