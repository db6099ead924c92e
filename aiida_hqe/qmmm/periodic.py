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
    number: Ints = connected_components(_graph(n_atoms, bonds), directed=False)[1].astype(np.int64)
    return number


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
    """Children and parents of a spanning forest of the bonds, one pair of arrays per generation.

    The first atom of each molecule is its root; one search from a common origin, bonded to all roots, finds the forest.
    """
    roots = np.unique(molecules(n_atoms, bonds), return_index=True)[1]
    to_roots = np.stack([np.full(len(roots), n_atoms), roots], axis=1)
    order, parent = breadth_first_order(_graph(n_atoms + 1, np.concatenate([bonds, to_roots])), n_atoms, directed=False)
    generation = np.full(n_atoms + 1, -1)
    for atom in order[1:]:
        generation[atom] = generation[parent[atom]] + 1
    levels = [np.flatnonzero(generation[:-1] == k) for k in range(1, int(generation.max()) + 1)]
    return [(children, parent[children].astype(np.int64)) for children in levels]


def _graph(n_atoms: int, bonds: Ints) -> coo_matrix:
    return coo_matrix((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n_atoms, n_atoms)).tocsr()
