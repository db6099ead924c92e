"""Density-fitted integrals between the orbitals of a core, kept in memory for coupled cluster where they fit.

PySCF's density-fitted coupled cluster reads its integrals from a file and makes those of four virtual orbitals anew in every
cycle. For a small core they are made once, which is several times faster and gives the same numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyscf import lib
from pyscf.ao2mo import _ao2mo
from pyscf.cc import ccsd

from aiida_hqe.frames import Floats

LIMIT = 2.5e9
"""Bytes of integrals up to which they are kept in memory: about 180 virtual orbitals; PySCF's streaming serves larger cores."""


def between(with_df: Any, left: Floats, right: Floats) -> Floats:
    """Three-index integrals between two sets of orbitals (n_auxiliary, n_left, n_right) of a PySCF fitting."""
    orbitals = np.asarray(np.hstack([left, right]), order="F")
    ranges = (0, left.shape[1], left.shape[1], orbitals.shape[1])
    blocks = [_ao2mo.nr_e2(packed, orbitals, ranges, aosym="s2", mosym="s1") for packed in with_df.loop()]
    return np.concatenate(blocks).reshape(-1, left.shape[1], right.shape[1])


def size(n_auxiliary: int, n_occupied: int, n_virtual: int) -> float:
    """Bytes of the integrals that `in_core` keeps, and of the three-index ones that it makes them of."""
    pairs = n_virtual * (n_virtual + 1) / 2
    four = pairs**2 + n_occupied * n_virtual * pairs
    return 8.0 * (four + 2.0 * n_auxiliary * (n_occupied + n_virtual) ** 2)


def in_core(solver: Any) -> Any:
    """Integrals of PySCF's restricted density-fitted coupled-cluster solver, all in memory."""
    eris = ccsd._ChemistsERIs()
    eris._common_init_(solver)
    C, n = eris.mo_coeff, eris.nocc
    L = between(solver.with_df, C, C)
    L_oo, L_ov, L_vv = _flat(L[:, :n, :n]), _flat(L[:, :n, n:]), lib.pack_tril(np.ascontiguousarray(L[:, n:, n:]))
    n_v = C.shape[1] - n
    eris.oooo = (L_oo.T @ L_oo).reshape(n, n, n, n)
    eris.ovoo = (L_ov.T @ L_oo).reshape(n, n_v, n, n)
    eris.ovov = (L_ov.T @ L_ov).reshape(n, n_v, n, n_v)
    eris.ovvo = np.ascontiguousarray(eris.ovov.transpose(0, 1, 3, 2))
    eris.oovv = lib.unpack_tril(L_oo.T @ L_vv).reshape(n, n, n_v, n_v)
    eris.ovvv = (L_ov.T @ L_vv).reshape(n, n_v, -1)
    eris.vvvv = L_vv.T @ L_vv
    return eris


def _flat(block: Floats) -> Floats:
    return np.ascontiguousarray(block).reshape(len(block), -1)
