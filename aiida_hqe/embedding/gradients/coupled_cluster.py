"""Unrelaxed coupled-cluster densities of a core: CCSD and CCSD(T), from PySCF's amplitudes and multipliers."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
from pyscf.cc import ccsd_lambda, ccsd_rdm

from aiida_hqe.embedding.gradients.density import CoreDensity
from aiida_hqe.embedding.gradients.exact import Exact
from aiida_hqe.embedding.gradients.fitted import Fitted
from aiida_hqe.embedding.gradients.pair_density import pair_density
from aiida_hqe.embedding.gradients.repulsion import TwoParticle
from aiida_hqe.embedding.gradients.triples import Triples
from aiida_hqe.errors import ConvergenceError, ResourceError
from aiida_hqe.frames import Floats

TOLERANCE = 1e-6
"""Norm of the change of the multipliers at convergence."""

MAX_CYCLES = 100
"""Iterations of the multipliers."""

DENSE = 1_000_000_000
"""Bytes of a two-particle density, with exact integrals and half transformed, up to which it is held in memory.

That is about 105 correlated orbitals in as many basis functions.
"""

IN_MEMORY = 200_000_000
"""Bytes of the largest intermediate of the multipliers up to which they are read only once."""

COPIES = 4
"""Arrays of the size of the largest one that are held at the same time at most."""


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
    n_frozen = hartree_fock.n_frozen
    active = slice(n_frozen, hartree_fock.end)
    C = hartree_fock.orbitals[:, active]
    _check_memory(C.shape[1], C.shape[1] - hartree_fock.n_occupied + n_frozen, repulsion)
    solver, eris = amplitudes
    extra = Triples(solver.t1, solver.t2, eris) if triples else None
    every = _amplitudes(solver, eris, extra)
    gamma = np.zeros_like(hartree_fock.gamma)
    gamma[active, active] = _one_particle(solver, every, extra)
    pairs = pair_density(solver, every, extra)
    extra = eris.vvvv = None  # neither is needed any more, and both are large
    if isinstance(repulsion, Fitted):
        Gamma: Any = pairs.fitted(repulsion.fitted(C, C))
    else:
        Gamma = pairs.dense() if 8 * C.size**2 < DENSE else pairs
    return dataclasses.replace(hartree_fock, gamma=gamma, two=TwoParticle(hartree_fock.orbitals, active, active, Gamma))


def _check_memory(n: int, n_virtual: int, repulsion: Exact | Fitted) -> None:
    """Raise `ResourceError` where what `n` correlated orbitals need is larger than the machine's memory."""
    n_ao = repulsion.mol.nao
    three = repulsion.auxmol.nao * n * (n_ao + n) if isinstance(repulsion, Fitted) else min((n * n_ao) ** 2, DENSE // 8)
    needed = COPIES * 8 * (three + (n - n_virtual) * n_virtual**3)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ResourceError(
            f"coupled-cluster forces of {n} correlated orbitals need {needed / 1e9:.0f} GB (this machine has"
            f" {there / 1e9:.0f} GB): choose mp2 or a smaller basis, or set forces to none"
        )


def _amplitudes(solver: Any, eris: Any, extra: Triples | None) -> tuple[Floats, Floats, Floats, Floats]:
    """Amplitudes and multipliers of singles and doubles, t1, t2, l1, l2."""
    t1, t2 = solver.t1, solver.t2

    def update(*arguments: Any) -> tuple[Floats, Floats]:
        l1, l2 = ccsd_lambda.update_lambda(*arguments)
        return (l1, l2) if extra is None else (l1 + extra.l1, l2 + extra.l2)

    options = {"max_cycle": MAX_CYCLES, "tol": TOLERANCE, "verbose": 0, "fintermediates": _intermediates}
    guess = (t1, t2) if extra is None else (t1 + extra.l1, t2 + extra.l2)
    converged, l1, l2 = ccsd_lambda.kernel(solver, eris, t1, t2, *guess, fupdate=update, **options)
    if not converged:
        raise ConvergenceError(
            f"the coupled-cluster multipliers of the core did not converge in {MAX_CYCLES} cycles: choose mp2, or set"
            " forces to none"
        )
    return t1, t2, l1, l2


def _intermediates(*arguments: Any) -> Any:
    """PySCF's intermediates of the multipliers, which it leaves on disk; in memory where the largest is small."""
    found = ccsd_lambda.make_intermediates(*arguments)
    if found.wvvov.nbytes < IN_MEMORY:
        for name in ("woooo", "wvooo", "wVOov", "wvOOv", "wvvov"):
            setattr(found, name, np.asarray(getattr(found, name)))
    return found


def _one_particle(solver: Any, amplitudes: tuple[Floats, ...], extra: Triples | None) -> Floats:
    """Correlated part of the one-particle density of the correlated orbitals, symmetric (n, n)."""
    blocks = ccsd_rdm._gamma1_intermediates(solver, *amplitudes)
    if extra is not None:
        doo, dov, dvo, dvv = blocks
        blocks = doo + extra.doo, dov, dvo + extra.dvo, dvv + extra.dvv
    one = ccsd_rdm._make_rdm1(solver, blocks, with_frozen=False, with_mf=False)
    return 0.5 * (one + one.T)
