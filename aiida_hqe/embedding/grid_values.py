"""Numerical integration that evaluates the basis functions on its grid once, where their values fit into memory.

PySCF evaluates them again in every cycle, which for a small molecule is a third of the cost of a Kohn-Sham calculation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from pyscf.dft import numint
from pyscf.dft.gen_grid import BLKSIZE

from aiida_hqe.frames import Floats

LIMIT = 5e8
"""Bytes of values, and first derivatives, up to which they are kept."""

Block = tuple[Floats, Any, Floats, Floats]
"""Values ([4,] n_points, n_ao), mask, weights and coordinates of a block of points."""


class StoredValues(numint.NumInt):
    """PySCF's numerical integration with stored values; up to first derivatives, on whole grids.

    All points are one block, or parts of it where smaller ones are asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: WeakKeyDictionary[Any, tuple[Any, int, Any, Block]] = WeakKeyDictionary()

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
        if deriv > 1 or grids.coords is None or non0tab is not None or not _fits(mol, grids, deriv):
            yield from super().block_loop(mol, grids, nao, deriv, max_memory, non0tab, blksize, buf)
            return
        of_mol, of_deriv, of_points, block = self._kept.get(grids, (None, 0, None, None))
        if block is None or of_mol is not mol or of_deriv != deriv or of_points is not grids.coords:
            whole = -(-len(grids.coords) // BLKSIZE) * BLKSIZE
            (block,) = super().block_loop(mol, grids, nao, deriv, blksize=whole)
            self._kept[grids] = (mol, deriv, grids.coords, block)
        yield from _parts(block, blksize)


def _fits(mol: Any, grids: Any, deriv: int) -> bool:
    return 8.0 * (4 if deriv else 1) * mol.nao * len(grids.coords) < LIMIT


def _parts(block: Block, size: int | None) -> Iterator[Block]:
    """A block in parts of so many points, a multiple of what PySCF's masks are made for."""
    values, mask, weights, points = block
    if size is None or size >= len(weights):
        yield block
        return
    for first in range(0, len(weights), size):
        part = slice(first, first + size)
        yield values[..., part, :], None if mask is None else mask[first // BLKSIZE :], weights[part], points[part]
