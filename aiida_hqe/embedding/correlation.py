"""Correlation energies of an embedded core: MP2, CCSD and CCSD(T) on the embedded orbitals."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from pyscf import cc
from pyscf.data.elements import chemcore_atm

from aiida_hqe.embedding import integrals, lno, virtuals
from aiida_hqe.embedding.level import CoreMethod, Shells, Threshold
from aiida_hqe.embedding.meanfield import EmbeddedState, HartreeFock
from aiida_hqe.embedding.mp2 import Space, mp2_energy
from aiida_hqe.errors import ConvergenceError, InputError
from aiida_hqe.frames import Floats
from aiida_hqe.units import HARTREE

ENERGY_TOLERANCE = 1e-9
"""Change of the CCSD energy at convergence, hartree."""

AMPLITUDE_TOLERANCE = 1e-6
"""Norm of the change of the amplitudes at convergence."""

MAX_CYCLES = 100
"""CCSD iterations."""


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Correlation energies of a core in hartree.

    Attributes
    ----------
    correlation
        MP2 or CCSD correlation energy, with the singles term where the orbitals are unrelaxed.
    triples
        Perturbative triples.
    virtuals
        Number of virtual orbitals of the (alpha) correlated space.
    mp2_correction
        MP2 energy lost with the truncated virtual or local orbitals; ``None`` for the full space.
    amplitudes
        PySCF's coupled-cluster solver and its integrals, for the densities that forces need.
    """

    correlation: float = 0.0
    triples: float = 0.0
    virtuals: int | None = None
    mp2_correction: float | None = None
    amplitudes: tuple[Any, Any] | None = None


def correlate(embedded: EmbeddedState, high: HartreeFock, settings: CoreMethod) -> Correlation:
    """Correlation energies of a core.

    Raises
    ------
    InputError
        Every core orbital would be frozen.
    ConvergenceError
        The coupled-cluster equations did not converge.
    """
    if settings.method == "hf":
        return Correlation()
    full = full_space(embedded, settings.frozen_core)
    space, correction = full, None
    if settings.virtuals != "full":
        space = truncate(embedded, high, full, settings.virtuals)
        correction = mp2_energy(high.mf, full) - mp2_energy(high.mf, space)
    if settings.method == "mp2":
        return Correlation(mp2_energy(high.mf, space), 0.0, space.n_virtual, correction)
    if settings.method == "lno-ccsd(t)":
        mf = mean_field(embedded, high, space)
        energy, triples, local = lno.local_coupled_cluster(embedded.state, mf, space, settings.lno_threshold)
        return Correlation(energy, triples, space.n_virtual, mp2_energy(high.mf, full) - local)
    solver, eris = _coupled_cluster(mean_field(embedded, high, space), space)
    triples = float(solver.ccsd_t(eris=eris)) if settings.method == "ccsd(t)" else 0.0
    return Correlation(float(solver.e_corr), triples, space.n_virtual, correction, (solver, eris))


def full_space(embedded: EmbeddedState, frozen_core: bool) -> Space:
    """All embedded orbitals, the inner shells of the core's atoms frozen where asked for."""
    state, partition = embedded.state, embedded.partition
    n_frozen = _inner_shells(state.mol, partition.atoms) if frozen_core else 0
    if n_frozen >= max(partition.n_core):
        raise InputError(
            f"frozen_core would freeze all {max(partition.n_core)} orbitals of the core ({n_frozen} inner shells):"
            " give the core more orbitals or set frozen_core to false",
            "core.frozen_core",
        )
    split = [
        np.split(C, [min(n_frozen, n), n], axis=1) for C, n in zip(embedded.orbitals, partition.n_core, strict=True)
    ]
    return _space(embedded, [C[0] for C in split], [C[1] for C in split], [C[2] for C in split])


def truncate(embedded: EmbeddedState, high: HartreeFock, full: Space, settings: Shells | Threshold) -> Space:
    """Space of the first shells of concentric localization: so many, or as long as a shell lowers MP2 by the threshold."""
    found = [
        virtuals.shells(embedded.state, embedded.partition.atoms, C, F)
        for C, F in zip(full.virtual, embedded.fock, strict=True)
    ]
    spaces = [
        _space(embedded, full.frozen, full.occupied, [np.hstack(channel[:n]) for channel in found])
        for n in range(1, max(len(channel) for channel in found) + 1)
    ]
    if isinstance(settings, Shells):
        return spaces[min(settings.shells, len(spaces)) - 1]
    energy = mp2_energy(high.mf, spaces[0])
    for smaller, larger in itertools.pairwise(spaces):
        energy, previous = mp2_energy(high.mf, larger), energy
        if abs(energy - previous) < settings.threshold / HARTREE:
            return smaller
    return spaces[-1]


def _space(embedded: EmbeddedState, frozen: list[Floats], occupied: list[Floats], virtual: list[Floats]) -> Space:
    """Space of given orbitals, made diagonal in the Fock matrix within occupied and within virtual ones."""
    space = Space(frozen, [], [], [], [], [])
    for F, C_o, C_v in zip(embedded.fock, occupied, virtual, strict=True):
        e_o, U_o = np.linalg.eigh(C_o.T @ F @ C_o)
        e_v, U_v = np.linalg.eigh(C_v.T @ F @ C_v)
        space.occupied.append(C_o @ U_o)
        space.virtual.append(C_v @ U_v)
        space.occupied_energies.append(e_o)
        space.virtual_energies.append(e_v)
        space.singles.append(U_o.T @ C_o.T @ F @ C_v @ U_v)
    return space


def mean_field(embedded: EmbeddedState, high: HartreeFock, space: Space) -> Any:
    """PySCF mean field with the orbitals of `space` and the embedded one-electron operator; nuclear energy zero."""
    state, operator = embedded.state, embedded.operator
    mf = high.mf.copy()
    mf.get_hcore = lambda *_: operator[0] if state.n_spin == 1 else operator
    mf.get_ovlp = lambda *_: state.overlap
    mf.energy_nuc = lambda *_: 0.0
    coefficients = [np.hstack(parts) for parts in zip(space.frozen, space.occupied, space.virtual, strict=True)]
    occupations = [
        np.where(np.arange(C.shape[1]) < n, 2.0 / state.n_spin, 0.0)
        for C, n in zip(coefficients, embedded.partition.n_core, strict=True)
    ]
    energies = [np.sum(C * (F @ C), axis=0) for C, F in zip(coefficients, embedded.fock, strict=True)]
    restricted = state.n_spin == 1
    mf.mo_coeff = coefficients[0] if restricted else tuple(coefficients)
    mf.mo_occ = occupations[0] if restricted else tuple(occupations)
    mf.mo_energy = energies[0] if restricted else tuple(energies)
    mf.converged = True
    return mf


def _coupled_cluster(mf: Any, space: Space) -> tuple[Any, Any]:
    """Converged CCSD solver of PySCF, and its integrals."""
    n_frozen = [C.shape[1] for C in space.frozen]
    frozen = n_frozen[0] if len(set(n_frozen)) == 1 else [list(range(n)) for n in n_frozen]
    solver = cc.CCSD(mf, frozen=frozen or None)
    solver.conv_tol, solver.conv_tol_normt, solver.max_cycle = ENERGY_TOLERANCE, AMPLITUDE_TOLERANCE, MAX_CYCLES
    eris = _integrals(mf, solver)
    solver.kernel(eris=eris)
    if not solver.converged:
        raise ConvergenceError(
            f"the CCSD equations of the core did not converge in {MAX_CYCLES} cycles: choose mp2, or other core orbitals"
        )
    return solver, eris


def _integrals(mf: Any, solver: Any) -> Any:
    """Integrals of a coupled-cluster solver: in memory, or as PySCF streams them where they are too large."""
    fitted = getattr(mf, "with_df", None)
    if not fitted or isinstance(mf.mo_occ, tuple):
        return solver.ao2mo()
    n_virtual = solver.nmo - solver.nocc
    fits = integrals.size(fitted.get_naoaux(), solver.nocc, n_virtual) < integrals.LIMIT
    return integrals.in_core(solver) if fits else solver.ao2mo()


def _inner_shells(mol: Any, atoms: list[int]) -> int:
    """Number of inner-shell orbitals of `atoms` that no effective core potential replaces."""
    replaced = [mol.atom_nelec_core(atom) for atom in atoms]
    numbers = [mol.atom_charge(atom) + n for atom, n in zip(atoms, replaced, strict=True)]
    return sum(max(chemcore_atm[z] - n // 2, 0) for z, n in zip(numbers, replaced, strict=True))
