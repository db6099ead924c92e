"""Orbitals of a core, ranked by their weight on its atoms: SPADE, intrinsic bond orbitals, Pipek-Mezey orbitals.

Every scheme returns singular values ``sigma`` (n_occ,), descending, and a rotation ``U`` (n_occ, n_occ) of the occupied
canonical orbitals; ``sigma_i^2`` is the population of orbital ``i`` on the core atoms.

Sources: SPADE, D. Claudino, N. J. Mayhall, J. Chem. Theory Comput. 2019, 15, 1053, doi:10.1021/acs.jctc.8b01112; IBO (exponent
4), G. Knizia, J. Chem. Theory Comput. 2013, 9, 4834, doi:10.1021/ct400687b; Pipek-Mezey (exponent 2, Loewdin populations),
J. Pipek, P. G. Mezey, J. Chem. Phys. 1989, 90, 4916, doi:10.1063/1.456588.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
from pyscf import lo
from pyscf.data.elements import chemcore

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.errors import ConvergenceError
from aiida_hqe.frames import Floats, Ints

MAX_SWEEPS = 500
"""Sweeps of two-by-two rotations before a localization is given up."""

TOLERANCE = 1e-10
"""Largest angle (rad) of a converged sweep."""

Scheme = Callable[[EnvironmentState, list[int], int], tuple[Floats, Floats]]


def spade(state: EnvironmentState, atoms: list[int], spin: int) -> tuple[Floats, Floats]:
    """Right singular vectors of the occupied orbitals in the orthogonalised atomic orbitals of the core atoms."""
    coefficients, owners = _loewdin(state, spin)
    return _singular(coefficients[np.isin(owners, atoms)])


def intrinsic_bond(state: EnvironmentState, atoms: list[int], spin: int) -> tuple[Floats, Floats]:
    """Intrinsic bond orbitals."""
    return _localized(state, atoms, intrinsic_atomic(state, spin), exponent=4)


def pipek_mezey(state: EnvironmentState, atoms: list[int], spin: int) -> tuple[Floats, Floats]:
    """Pipek-Mezey orbitals of Loewdin populations."""
    return _localized(state, atoms, _loewdin(state, spin), exponent=2)


def spade_by_shell(state: EnvironmentState, atoms: list[int], spin: int) -> tuple[Floats, Floats]:
    """SPADE of the inner shells and of the valence orbitals apart, so that none of a core's orbitals mixes the two."""
    coefficients, owners = _loewdin(state, spin)
    n_occ, n_inner = coefficients.shape[1], chemcore(state.mol)
    sigma, U = np.zeros(n_occ), np.zeros((n_occ, n_occ))
    for block in (slice(0, n_inner), slice(n_inner, n_occ)):
        sigma[block], U[block, block] = _singular(coefficients[np.isin(owners, atoms), block])
    order = np.argsort(-sigma, kind="stable")
    return sigma[order], U[:, order]


SCHEMES: dict[str, Scheme] = {
    "spade": spade,
    "spade-by-shell": spade_by_shell,
    "ibo": intrinsic_bond,
    "pipek-mezey": pipek_mezey,
}
"""Partition scheme by name; a level says which one by its `Embedding.scheme`."""


def localize(state: EnvironmentState, orbitals: Floats) -> Floats:
    """Pipek-Mezey orbitals (n_ao, n) of the space of any orthonormal `orbitals` (n_ao, n)."""
    coefficients, owners = _orthogonalised(state, orbitals)
    return orbitals @ jacobi(_charges(state, coefficients, owners), exponent=2)


def _singular(coefficients: Floats) -> tuple[Floats, Floats]:
    """Singular values (n_occ,), zero where there are fewer rows than orbitals, and the rotation to their right vectors."""
    _, sigma, Vt = np.linalg.svd(coefficients)
    return np.pad(sigma, (0, len(Vt) - len(sigma))), Vt.T


def _loewdin(state: EnvironmentState, spin: int) -> tuple[Floats, Ints]:
    """Occupied orbitals in symmetrically orthogonalised atomic orbitals (n_ao, n_occ), and the atom of each row."""
    return _orthogonalised(state, state.occupied(spin))


def _orthogonalised(state: EnvironmentState, orbitals: Floats) -> tuple[Floats, Ints]:
    """Orbitals in symmetrically orthogonalised atomic orbitals, and the atom of each row."""
    s, V = scipy.linalg.eigh(state.overlap)
    return (V * np.sqrt(s)) @ V.T @ orbitals, owners_of(state.mol)


def loewdin_populations(state: EnvironmentState, density: Floats) -> Floats:
    """Electrons of a density matrix (n_ao, n_ao) on each atom (n_atoms,)."""
    s, V = scipy.linalg.eigh(state.overlap)
    root = (V * np.sqrt(s)) @ V.T
    found: Floats = np.zeros(state.mol.natm)
    np.add.at(found, owners_of(state.mol), np.diag(root @ density @ root))
    return found


def owners_of(mol: Any) -> Ints:
    """Atom of each atomic orbital of a PySCF molecule (n_ao,)."""
    return np.array([label[0] for label in mol.ao_labels(fmt=None)])


def _charges(state: EnvironmentState, coefficients: Floats, owners: Ints) -> Floats:
    """Populations ``Q^A_ij`` of the orbitals on each atom (n_atoms, n, n)."""
    projected = [coefficients[owners == atom] for atom in range(state.mol.natm)]
    return np.array([c.T @ c for c in projected])


def intrinsic_atomic(state: EnvironmentState, spin: int) -> tuple[Floats, Ints]:
    """Occupied orbitals in orthogonalised intrinsic atomic orbitals, and the atom of each row."""
    C = state.occupied(spin)
    basis = lo.orth.vec_lowdin(lo.iao.iao(state.mol, C), state.overlap)
    return basis.T @ state.overlap @ C, owners_of(lo.iao.reference_mol(state.mol))


def _localized(
    state: EnvironmentState, atoms: list[int], basis: tuple[Floats, Ints], exponent: int
) -> tuple[Floats, Floats]:
    """Localized orbitals, ranked by their population on the core atoms."""
    coefficients, owners = basis
    U = localizing_rotation(state, basis, exponent)
    populations = np.sum((coefficients[np.isin(owners, atoms)] @ U) ** 2, axis=0)
    order = np.argsort(-populations, kind="stable")
    return np.sqrt(populations[order]), U[:, order]


def localizing_rotation(state: EnvironmentState, basis: tuple[Floats, Ints], exponent: int) -> Floats:
    """Rotation (n_occ, n_occ) that localizes inner shells, which come first, and valence orbitals separately."""
    coefficients, owners = basis
    n_occ, n_inner = coefficients.shape[1], chemcore(state.mol)
    U = np.zeros((n_occ, n_occ))
    for block in (slice(0, n_inner), slice(n_inner, n_occ)):
        U[block, block] = jacobi(_charges(state, coefficients[:, block], owners), exponent)
    return U


def jacobi(charges: Floats, exponent: int) -> Floats:
    """Rotation that makes ``sum_A sum_i (Q^A_ii)^p`` stationary and large, by sweeps of two-by-two rotations.

    Parameters
    ----------
    charges
        ``Q^A_ij``, populations of the orbitals on each atom (n_atoms, n, n).
    exponent
        ``p``, 2 or 4.

    Raises
    ------
    ConvergenceError
        The largest angle is above the tolerance after all sweeps.
    """
    Q, n = charges.copy(), charges.shape[1]
    U, largest = np.eye(n), 0.0
    for _ in range(MAX_SWEEPS):
        largest = 0.0
        for i in range(n):
            for j in range(i):
                angle = _angle(Q[:, i, i], Q[:, j, j], Q[:, i, j], exponent)
                rotate(Q, U, i, j, angle)
                largest = max(largest, abs(angle))
        if largest < TOLERANCE:
            return U
    raise ConvergenceError(
        f"localization did not converge (largest rotation {largest:.1e}, below {TOLERANCE:.0e} expected): choose the"
        " partition spade",
        largest,
    )


def _angle(ii: Floats, jj: Floats, ij: Floats, exponent: int) -> float:
    """Angle that maximises the functional in the plane of two orbitals."""
    if exponent == 2:
        a = np.sum(ij**2 - (ii - jj) ** 2 / 4)
        b = np.sum(ij * (ii - jj))
    else:
        a = np.sum(-(ii**4) - jj**4 + 6 * (ii**2 + jj**2) * ij**2 + ii**3 * jj + ii * jj**3)
        b = np.sum(4 * ij * (ii**3 - jj**3))
    return 0.0 if np.hypot(a, b) < 1e-14 else float(np.arctan2(b, -a)) / 4


def rotate(Q: Floats, U: Floats, i: int, j: int, angle: float) -> None:
    """Turn orbitals i and j in place: in their populations Q (n, n_orbitals, n_orbitals) and in the rotation U."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    pair = [i, j]
    U[:, pair] = U[:, pair] @ turn
    Q[:, :, pair] = Q[:, :, pair] @ turn
    Q[:, pair, :] = np.einsum("ba,nbc->nac", turn, Q[:, pair, :])
