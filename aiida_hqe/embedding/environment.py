"""The environment: Kohn-Sham DFT of the whole QM region in the point charges, and its analytic forces.

Matrices carry a leading spin axis of length one (restricted) or two (unrestricted), densities include the occupation.
"""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from pyscf import df, dft, lib, qmmm

from aiida_hqe.embedding import molecule, scf
from aiida_hqe.embedding.dispersion import Dispersion, dispersion
from aiida_hqe.embedding.grid_values import StoredValues
from aiida_hqe.embedding.level import Environment
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.units import BOHR, HARTREE_PER_BOHR

DISPERSION_SUFFIX = re.compile(r"-d[34]", re.IGNORECASE)
"""What PySCF would take for a request of dispersion in the name of a functional."""

XCFUN_LIMIT = 1000
"""Numbers from here on are no functionals of XCFun but PySCF's marks for non-local correlation, which it lacks."""

KEPT_INTEGRALS = 1e9
"""Bytes of fitted integrals up to which they are kept in memory during the self-consistent field."""

ROUND_OFF = 1e-13
"""Elements of a density matrix below this are round-off."""


@dataclasses.dataclass(frozen=True, eq=False)
class EnvironmentState:
    """Converged Kohn-Sham state, in atomic units.

    Attributes
    ----------
    mf
        PySCF mean field, in the point charges.
    rung
        Rung of the SCF ladder that converged it.
    dispersion
        Empirical dispersion, where the level has one.
    grid_response
        Whether forces contain the response of the integration grid.
    converged_potential
        PySCF's effective potential at the converged density, where the solver kept it.
    """

    mf: Any
    rung: str
    dispersion: Dispersion | None = None
    grid_response: bool = False
    converged_potential: Any = None

    @property
    def mol(self) -> Any:
        """PySCF molecule."""
        return self.mf.mol

    @property
    def energy(self) -> float:
        """Total energy with charge-electron and charge-nucleus terms and dispersion, without charge-charge ones (hartree)."""
        return float(self.mf.e_tot) + (self.dispersion.energy if self.dispersion else 0.0)

    @cached_property
    def orbitals(self) -> Floats:
        """Canonical orbitals (n_spin, n_ao, n_mo)."""
        return _with_spin_axis(self.mf.mo_coeff)

    @property
    def n_spin(self) -> int:
        """One for a restricted, two for an unrestricted state."""
        return len(self.orbitals)

    @cached_property
    def n_occupied(self) -> tuple[int, ...]:
        """Number of occupied orbitals of each spin channel."""
        return tuple(int((occ > 0).sum()) for occ in np.atleast_2d(self.mf.mo_occ))

    @cached_property
    def overlap(self) -> Floats:
        """Overlap matrix of the atomic orbitals."""
        return np.asarray(self.mf.get_ovlp())

    @cached_property
    def hcore(self) -> Floats:
        """One-electron operator, with the point charges."""
        return np.asarray(self.mf.get_hcore())

    def occupied(self, spin: int) -> Floats:
        """Occupied canonical orbitals of a spin channel (n_ao, n_occ)."""
        return self.orbitals[spin][:, : self.n_occupied[spin]]

    def virtual(self, spin: int) -> Floats:
        """Virtual canonical orbitals of a spin channel."""
        return self.orbitals[spin][:, self.n_occupied[spin] :]

    def density_of(self, orbitals: list[Floats]) -> Floats:
        """Density matrices (n_spin, n_ao, n_ao) of occupied orbitals given for each spin channel."""
        return np.array([2.0 / self.n_spin * C @ C.T for C in orbitals])

    @cached_property
    def density(self) -> Floats:
        """Density matrices (n_spin, n_ao, n_ao)."""
        return self.density_of([self.occupied(spin) for spin in range(self.n_spin)])

    def potential(self, density: Floats) -> tuple[Floats, float]:
        """Two-electron part of the Kohn-Sham operator, (n_spin, n_ao, n_ao), and of the energy, at any density."""
        return _parts(self.mf.get_veff(self.mol, with_orbitals(density)))

    @cached_property
    def own_potential(self) -> tuple[Floats, float]:
        """`potential` at the state's own density, which the self-consistent field already had."""
        if self.converged_potential is None:
            return self.potential(self.density)
        return _parts(self.converged_potential)

    def forces(self) -> tuple[Floats, Floats]:
        """Forces on the QM atoms (n_qm, 3) and on the point charges (n_mm, 3), eV/angstrom.

        Without `grid_response` they are those of a fixed grid: what is left out is about 1e-5 hartree/bohr at grid level 3.
        """
        gradient = self.mf.nuc_grad_method()
        gradient.grid_response = self.grid_response
        on_atoms = -np.asarray(gradient.kernel()) * HARTREE_PER_BOHR
        if self.dispersion:
            on_atoms -= self.dispersion.gradient * HARTREE_PER_BOHR
        if not hasattr(self.mf, "mm_mol"):
            return on_atoms, np.zeros((0, 3))
        on_charges = gradient.grad_hcore_mm(self.density.sum(axis=0)) + gradient.grad_nuc_mm()
        return on_atoms, -np.asarray(on_charges) * HARTREE_PER_BOHR


def solve_environment(frame: Frame, settings: Environment, guess: Floats | None = None) -> EnvironmentState:
    """Converge the Kohn-Sham state of a frame.

    Parameters
    ----------
    guess
        First density (n_spin, n_ao, n_ao), such as that of a frame close by; by default PySCF's own guess.

    Raises
    ------
    InputError
        Geometry, basis or functional cannot be used.
    ConvergenceError
        No rung of the SCF ladder converged.
    ResourceError
        The level has dispersion, and its package is not installed.
    """
    mol = molecule.build_molecule(frame, settings.basis)
    library = xc_library(settings)
    coordinates, charges = molecule.point_charges(frame)
    radii = None if settings.charge_radius is None else np.full(len(charges), settings.charge_radius / BOHR)

    first = [] if guess is None else [guess[0] if len(guess) == 1 else guess]

    def build() -> Any:
        mf = dft.RKS(mol) if mol.spin == 0 else dft.UKS(mol)
        mf._numint = StoredValues()
        mf._numint.libxc = library
        mf.xc = settings.xc
        mf.grids.level = settings.grid_level
        if settings.density_fit:
            mf = _fitted(mf)
        if len(charges):
            mf = qmmm.mm_charge(mf, coordinates, charges, radii=radii, unit="Bohr")
        if first:  # where it does not converge, the next rung makes its own guess
            density = first.pop()
            mf.get_init_guess = lambda *_, **__: density
        return mf

    correction = dispersion(frame, settings)
    mf, rung, potential = scf.converge(build)
    return EnvironmentState(mf, rung, correction, settings.grid_response, potential)


def _fitted(mf: Any) -> Any:
    """A mean field in fitted integrals, in memory where they fit: with a pure functional PySCF makes them anew in every cycle."""
    mf = mf.density_fit()
    n_auxiliary = df.make_auxmol(mf.mol, mf.with_df.auxbasis).nao
    if 4.0 * n_auxiliary * mf.mol.nao * (mf.mol.nao + 1) < KEPT_INTEGRALS:
        mf.with_df.build()
    return mf


def xc_library(settings: Environment) -> Any:
    """XC library, after a check that it knows the functional.

    Raises
    ------
    InputError
        It does not, or the name asks for dispersion.
    """
    library = dft.libxc if settings.xc_library == "libxc" else dft.xcfun
    try:
        known = bool(settings.xc.strip()) and not DISPERSION_SUFFIX.search(settings.xc)
        parts = library.parse_xc(settings.xc)[1]
        known = known and (library is dft.libxc or all(number < XCFUN_LIMIT for number, _ in parts))
        known = known and library.xc_type(settings.xc) is not None
    except (KeyError, ValueError, NotImplementedError):
        known = False
    if not known:
        raise InputError(
            f"a functional that {settings.xc_library} knows was expected (got {settings.xc!r}): choose one of PySCF's names,"
            " such as pbe, pbe0, b3lyp or wb97x_v, without a suffix for dispersion, which has its own key",
            "environment.xc",
        )
    return library


def with_orbitals(density: Floats) -> Any:
    """Density (n_spin, n_ao, n_ao) as PySCF takes it, with orbitals that make it up where it has no negative occupation.

    With orbitals PySCF's exchange and its density on the grid cost as much as there are occupied orbitals, not basis functions.
    """
    plain = density[0] if len(density) == 1 else density
    factors = [_factor(D) for D in density]
    if any(factor is None for factor in factors):
        return plain
    n = max(factor.shape[1] for factor in factors if factor is not None)
    orbitals = np.array(
        [np.pad(factor, ((0, 0), (0, n - factor.shape[1]))) for factor in factors if factor is not None]
    )
    occupations = np.ones((len(density), n))
    if len(density) == 1:
        return lib.tag_array(plain, mo_coeff=orbitals[0], mo_occ=occupations[0])
    return lib.tag_array(plain, mo_coeff=orbitals, mo_occ=occupations)


def _factor(density: Floats) -> Floats | None:
    """Pivoted Cholesky factor ``C C^T`` (n_ao, rank) of a density matrix; ``None`` where it has none."""
    lower, pivots, rank, _ = scipy.linalg.lapack.dpstrf(density, tol=ROUND_OFF, lower=1)
    factor = np.zeros((len(density), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    exact = np.allclose(factor @ factor.T, density, rtol=0.0, atol=10 * ROUND_OFF)
    return factor if exact and rank else None


def _parts(veff: Any) -> tuple[Floats, float]:
    """Matrices and energy of PySCF's effective potential."""
    return _with_spin_axis(np.asarray(veff)), float((veff.ecoul + veff.exc).real)


def _with_spin_axis(matrix: Floats) -> Floats:
    return np.asarray(matrix).reshape(-1, *np.shape(matrix)[-2:])
