"""Numerical integration that evaluates the basis functions on its grid once, where their values fit into memory.

PySCF evaluates them again in every cycle, which for a small molecule is a third of the cost of a Kohn-Sham calculation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pyscf.dft import numint

from aiida_hqe.frames import Floats

LIMIT = 5e8
"""Bytes of values, and first derivatives, up to which they are kept."""

ALIGNMENT = 64
"""Bytes to which PySCF aligns them."""

Block = tuple[Floats, Any, Floats, Floats]
"""Values ([4,] n_points, n_ao), mask, weights and coordinates of a block of points."""


class StoredValues(numint.NumInt):
    """PySCF's numerical integration with stored values; up to first derivatives, on whole grids in PySCF's own blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: WeakKeyDictionary[Any, tuple[Any, int, Any, list[Block]]] = WeakKeyDictionary()

    def block_loop(
        self,
        mol: Any,
        grids: Any,
        nao: int | None = None,
        deriv: int = 0,
        max_memory: float = 2000,
        non0tab: Any = None,
        blksize: int | None = None,
        buf: Any = None,
    ) -> Iterator[Block]:
        """Blocks of the grid, as PySCF yields them."""
        loop = super().block_loop(mol, grids, nao, deriv, max_memory, non0tab, blksize, buf)
        if (
            deriv > 1
            or grids.coords is None
            or non0tab is not None
            or blksize is not None
            or not _fits(mol, grids, deriv)
        ):
            yield from loop
            return
        of_mol, of_deriv, of_points, kept = self._kept.get(grids, (None, 0, None, []))
        if of_mol is not mol or of_deriv != deriv or of_points is not grids.coords:
            kept = []
            for values, mask, weights, points in loop:
                kept.append((_aligned(values), mask, weights, points))
                yield kept[-1]
            self._kept[grids] = (mol, deriv, grids.coords, kept)
            return
        yield from kept


def _fits(mol: Any, grids: Any, deriv: int) -> bool:
    return 8.0 * (4 if deriv else 1) * mol.nao * len(grids.coords) < LIMIT


def _aligned(values: Floats) -> Floats:
    """A copy in the memory order of `values`, aligned as PySCF's own."""
    order = values.transpose(*range(values.ndim - 2), -1, -2)
    memory = np.empty(order.nbytes + ALIGNMENT, dtype=np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    copy = memory[first : first + order.nbytes].view(values.dtype).reshape(order.shape)
    copy[...] = order
    return np.asarray(copy.transpose(*range(values.ndim - 2), -1, -2))
