"""Periodic images: lattice translations, and molecules made whole across the faces of the box."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from aiida_hqe.frames import Floats, Ints


def lattice_translation(displacements: Floats, box: Floats | None) -> Floats:
    """Lattice vectors to add to `displacements` (n, 3), angstrom, so that each becomes its nearest image.

    `box` holds the lattice vectors in its rows, in OpenMM's reduced form (lower triangular), or is ``None`` without
    periodicity. The image is the nearest one for every displacement shorter than half the smallest diagonal element.
    """
    translation = np.zeros_like(displacements)
    if box is None:
        return translation
    rest = displacements.copy()
    for vector, axis in ((box[2], 2), (box[1], 1), (box[0], 0)):
        rest -= np.round(rest[:, axis] / vector[axis])[:, None] * vector
    return rest - displacements


def half_box(box: Floats | None) -> float:
    """Half of the shortest edge of `box` (angstrom): images of longer distances are ambiguous; infinite without a box."""
    return np.inf if box is None else 0.5 * float(np.diag(box).min())


def molecules(n_atoms: int, bonds: Ints) -> Ints:
    """Number of the molecule that each atom belongs to, (n_atoms,), from `bonds` (n_bonds, 2)."""
    return connected_components(_graph(n_atoms, bonds), directed=False)[1].astype(np.int64)


def whole(positions: Floats, box: Floats | None, tree: list[tuple[Ints, Ints]]) -> Floats:
    """Positions (n, 3) with each molecule in one piece: atoms move by lattice vectors next to their bonded parents.

    `tree` comes from :func:`spanning_tree`; the first atom of each molecule stays where it is.
    """
    if box is None:
        return positions
    result = positions.copy()
    for children, parents in tree:
        result[children] += lattice_translation(result[children] - result[parents], box)
    return result


def spanning_tree(n_atoms: int, bonds: Ints) -> list[tuple[Ints, Ints]]:
    """Children and parents of a spanning forest of the bonds, one pair of arrays per generation."""
    graph = _graph(n_atoms, bonds)
    number = connected_components(graph, directed=False)[1]
    parent = np.full(n_atoms, -1)
    depth = np.zeros(n_atoms, dtype=np.int64)
    roots = np.unique(number, return_index=True)[1]
    sizes = np.bincount(number)
    for root in roots[sizes[number[roots]] > 1]:
        order, predecessors = breadth_first_order(graph, root, directed=False)
        for atom in order[1:]:
            parent[atom] = predecessors[atom]
            depth[atom] = depth[parent[atom]] + 1
    levels = [np.flatnonzero(depth == level) for level in range(1, int(depth.max(initial=0)) + 1)]
    return [(children, parent[children]) for children in levels]


def _graph(n_atoms: int, bonds: Ints) -> coo_matrix:
    return coo_matrix((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n_atoms, n_atoms)).tocsr()
