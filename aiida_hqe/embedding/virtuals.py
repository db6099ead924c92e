"""Concentric localization: virtual orbitals in shells around a core, for correlation in a part of the virtual space.

D. Claudino, N. J. Mayhall, J. Chem. Theory Comput. 2019, 15, 6085, doi:10.1021/acs.jctc.9b00682. The first shell is the part
of the virtual space that the basis functions of the core atoms span; each next one is what the Fock operator couples to the
shell before it.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.localization import owners_of
from aiida_hqe.frames import Floats

NULL = 1e-6
"""Singular values below this do not couple."""


def shells(state: EnvironmentState, atoms: list[int], virtual: Floats, fock: Floats) -> list[Floats]:
    """Orthonormal virtual orbitals, shell by shell.

    Parameters
    ----------
    atoms
        Core atoms, whose basis functions span the first shell.
    virtual
        All virtual orbitals of the core (n_ao, n_virtual).
    fock
        Fock matrix of the core in atomic orbitals.

    Returns
    -------
    list of arrays (n_ao, n_shell)
        The shells; together, with what nothing couples to as the last, they span `virtual`.
    """
    rows = np.isin(owners_of(state.mol), atoms)
    root = scipy.linalg.cholesky(state.overlap[np.ix_(rows, rows)], lower=True)
    overlap = scipy.linalg.solve_triangular(root, state.overlap[rows] @ virtual, lower=True)
    found, rest = _split(overlap, virtual)
    result = [found] if found.shape[1] else []
    while rest.shape[1]:
        coupling = result[-1].T @ fock @ rest if result else np.zeros((0, rest.shape[1]))
        found, remaining = _split(coupling, rest)
        if not found.shape[1]:
            return [*result, rest]
        result.append(found)
        rest = remaining
    return result


def _split(coupling: Floats, orbitals: Floats) -> tuple[Floats, Floats]:
    """Orbitals that `coupling` (n, n_orbitals) sees, and those it does not."""
    if not coupling.shape[0]:
        return orbitals[:, :0], orbitals
    _, sigma, Vt = np.linalg.svd(coupling)
    turned = orbitals @ Vt.T
    n = int(np.sum(sigma > NULL))
    return turned[:, :n], turned[:, n:]
