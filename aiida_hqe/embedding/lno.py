"""Local natural orbital CCSD(T) of an embedded core, by pyscf-forge (optional extra).

H.-Z. Ye, T. C. Berkelbach, J. Chem. Theory Comput. 2024, 20, 8948, doi:10.1021/acs.jctc.4c00716.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.localization import localize
from aiida_hqe.embedding.mp2 import Space
from aiida_hqe.errors import ConvergenceError, ResourceError

OCCUPIED_TO_VIRTUAL = 10.0
"""Threshold of the occupied natural orbitals over that of the virtual ones."""

MAX_CYCLES = 100
"""CCSD iterations of a fragment."""


def local_coupled_cluster(
    state: EnvironmentState, mf: Any, space: Space, threshold: float
) -> tuple[float, float, float]:
    """CCSD correlation energy, triples energy, and MP2 energy of the same local spaces (hartree).

    Parameters
    ----------
    state
        Environment, for the atomic populations that localize the core's orbitals.
    mf
        Density-fitted PySCF mean field of the core.
    space
        Correlated orbitals; each localized occupied orbital is one fragment.
    threshold
        Smallest occupation of a virtual natural orbital that is kept; ten times that for occupied ones.

    Raises
    ------
    ResourceError
        pyscf-forge is not installed.
    ConvergenceError
        CCSD of a fragment did not converge.
    """
    lno = _package()
    cycles: list[int] = []
    orbitals = localize(state, space.occupied[0])
    solver = lno.LNOCCSD_T(
        mf,
        orbitals,
        [[i] for i in range(orbitals.shape[1])],
        lno_thresh=[OCCUPIED_TO_VIRTUAL * threshold, threshold],
        frozen=space.frozen[0].shape[1],
    )
    solver.kwargs_imp = {"max_cycle": MAX_CYCLES, "callback": lambda variables: cycles.append(variables["istep"])}
    solver.kernel()
    if max(cycles, default=0) >= MAX_CYCLES - 1:
        raise ConvergenceError(
            f"CCSD of a local fragment did not converge in {MAX_CYCLES} cycles: choose ccsd(t), or other core orbitals"
        )
    ccsd = float(solver.e_corr_ccsd)
    return ccsd, float(solver.e_corr_ccsd_t) - ccsd, float(solver.e_corr_pt2)


def _package() -> ModuleType:
    try:
        from pyscf import lno
        from pyscf.lno import lnoccsd_t  # noqa: F401  (loads the compiled library)
    except (ImportError, OSError) as error:
        raise ResourceError(
            "method lno-ccsd(t) needs pyscf-forge, which is not installed: pip install 'aiida-hqe[lno]', or choose ccsd(t)"
        ) from error
    return lno
