"""Which bonds the QM region cuts, and whether each can carry a link atom."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Ints
from aiida_hqe.qmmm.boundary import remainders
from aiida_hqe.qmmm.topology import Structure

KEY = "system.qm"

LENGTH = 1.09
"""Distance of a link hydrogen from its carbon, angstrom: the C-H bond of an alkane."""

LARGEST_REMAINDER = 0.25
"""Force-field charge (e) of a cut QM fragment less the nearest integer, beyond which a boundary is refused."""

_CARBON = 6
_RING = 8
"""Rings of up to this many atoms cannot be cut; larger ones, a cyclic peptide say, are chains in effect."""


def find(structure: Structure, bonds: Ints, numbers: Ints, qm_atoms: Ints) -> tuple[Ints, Floats]:
    """QM atom and host of each bond that the region cuts (n_links, 2), and the lengths of the link bonds (n_links,), angstrom.

    Raises
    ------
    InputError
        A bond cannot be cut: only single bonds between carbon atoms, outside small rings, can be saturated with a hydrogen that
        stands for what it replaces.
    """
    inside = np.isin(bonds, qm_atoms)
    cut = bonds[inside[:, 0] != inside[:, 1]]
    links = np.where(np.isin(cut[:, :1], qm_atoms), cut, cut[:, ::-1])
    links = links[np.lexsort((links[:, 1], links[:, 0]))]
    names = _Names(structure)
    degree = np.bincount(bonds.ravel(), minlength=len(numbers))
    for inner, host in links.tolist():
        _check_bond(names, (inner, host), numbers, degree)
        _check_ring(names, (inner, host), bonds, len(numbers))
    _check_hosts(names, links, bonds)
    return links, np.full(len(links), LENGTH)


def check_remainders(links: Ints, bonds: Ints, charges: Floats, qm_atoms: Ints) -> None:
    """Raise `InputError` where the force-field charge of a cut fragment is far from an integer."""
    fragment, remainder = remainders(bonds, charges, qm_atoms)
    for number in np.unique(fragment[np.isin(qm_atoms, links[:, 0])]).tolist():
        if abs(remainder[number]) > LARGEST_REMAINDER:
            total = float(charges[qm_atoms[fragment == number]].sum())
            raise InputError(
                f"a cut QM fragment with a force-field charge within {LARGEST_REMAINDER} e of an integer was expected"
                f" (got {total:.3f}): move the cut to the edge of a side chain or of a neutral group",
                KEY,
            )


class _Names:
    """Atoms in words."""

    def __init__(self, structure: Structure) -> None:
        self._atoms = list(structure.topology.atoms())

    def __call__(self, *indices: int) -> str:
        atoms = [self._atoms[index] for index in indices]
        return " - ".join(f"{atom.index} ({atom.residue.name} {atom.name})" for atom in atoms)


def _check_bond(names: _Names, bond: tuple[int, int], numbers: Ints, degree: Ints) -> None:
    remedy = "move the boundary of the QM region to a C-C single bond, CA - CB or CA - C of a peptide say"
    if set(numbers[list(bond)].tolist()) != {_CARBON}:
        kind = "a bond to hydrogen" if 1 in numbers[list(bond)] else "a bond that is polar"
        raise InputError(f"a cut through a C-C bond was expected (got {names(*bond)}, {kind}): {remedy}", KEY)
    if not np.any(degree[list(bond)] == 4):
        raise InputError(
            f"a cut through a single bond was expected (got {names(*bond)}, where neither carbon has four neighbours:"
            f" double, aromatic or conjugated): {remedy}",
            KEY,
        )


def _check_ring(names: _Names, bond: tuple[int, int], bonds: Ints, n_atoms: int) -> None:
    others = bonds[~(np.isin(bonds, bond).all(axis=1))]
    graph = coo_matrix((np.ones(len(others)), (others[:, 0], others[:, 1])), shape=(n_atoms, n_atoms)).tocsr()
    around = dijkstra(graph, directed=False, unweighted=True, indices=bond[0], limit=_RING)[bond[1]]
    if around < _RING:
        raise InputError(
            f"a cut outside of rings was expected (got {names(*bond)} in a ring of {int(around) + 1} atoms):"
            " take the whole ring into the QM region, or none of it",
            KEY,
        )


def _check_hosts(names: _Names, links: Ints, bonds: Ints) -> None:
    hosts = links[:, 1]
    for host, count in Counter(hosts.tolist()).items():
        if count > 1:
            raise InputError(
                f"MM atoms bonded to one QM atom were expected (got {names(host)}, bonded to {count}):"
                " take it into the QM region",
                KEY,
            )
    for pair in bonds[np.isin(bonds, hosts).all(axis=1)].tolist():
        raise InputError(
            f"an MM atom at least between two cut bonds was expected (got the neighbours {names(*pair)}):"
            " take both into the QM region, or cut elsewhere",
            KEY,
        )
    for inner, host in links.tolist():
        if not np.any((bonds == host).any(axis=1) & ~np.isin(bonds, inner).any(axis=1)):
            raise InputError(
                f"an MM atom with MM neighbours, which take its charge, was expected at the boundary (got {names(host)}):"
                " take it into the QM region",
                KEY,
            )
