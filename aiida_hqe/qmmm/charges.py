"""Effective point charges of the QM region: whole groups, imaged about its centre, switched smoothly by distance.

The charge that the QM region feels is ``q_eff = S_g q``, one switch ``S_g`` for each charge group g. With the quintic (C2)
step ``s(r)``, which is 1 below ``cutoff - width`` and 0 above ``cutoff``, and the distances ``r_ig`` from each QM atom i
to the centroid of the group,

    S_g = 1 - prod_i (1 - s(r_ig)),

a smooth union: the group is fully present as soon as one QM atom is nearer than ``cutoff - width``, absent when every QM
atom is farther than ``cutoff``, and S_g is twice continuously differentiable in between, which a nearest distance is not.
The group at a boundary through bonds is bonded to the region: S_g = 1 for it, and it lies in the region's image.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Ints
from aiida_hqe.qmmm.periodic import half_box, lattice_translation


@dataclasses.dataclass(frozen=True)
class ChargeGroups:
    """MM sites sorted by group, so that a group is switched as one.

    Attributes
    ----------
    atoms
        Indices of the MM sites (n_mm,), ordered by group.
    charges
        Their force-field charges (n_mm,), e.
    starts, sizes
        First site and number of sites of each group (n_groups,), positions in `atoms`.
    bonded
        Whether a group is bonded to the QM region, and always present (n_groups,).
    """

    atoms: Ints
    charges: Floats
    starts: Ints
    sizes: Ints
    bonded: NDArray[np.bool_]

    @classmethod
    def of(cls, group: Ints, charges: Floats, bonded: int = -1) -> ChargeGroups:
        """From group number (negative: no MM site) and charge of every site, both (n,), and the group bonded to the region."""
        atoms = np.flatnonzero(group >= 0)
        atoms = atoms[np.argsort(group[atoms], kind="stable")]
        numbers, starts, sizes = np.unique(group[atoms], return_index=True, return_counts=True)
        return cls(atoms, charges[atoms], starts, sizes, numbers == bonded)


@dataclasses.dataclass(frozen=True)
class PointCharges:
    """The QM region and the point charges it feels, about the centroid of the region.

    Attributes
    ----------
    qm_positions
        Positions of the QM atoms (n_qm, 3), angstrom.
    sites
        Index of each point charge among all atoms (n_sites,).
    positions, charges
        Positions (n_sites, 3) and effective charges (n_sites,).
    """

    qm_positions: Floats
    sites: Ints
    positions: Floats
    charges: Floats
    _unswitched: Floats
    _starts: Ints
    _sizes: Ints
    _gradients: Floats

    def switch_forces(self, charge_gradient: Floats) -> tuple[Floats, Floats]:
        """Forces that an energy exerts through the switch of the charges alone.

        Parameters
        ----------
        charge_gradient
            dE/dq_eff of each point charge, (n_sites,), eV/e.

        Returns
        -------
        tuple
            Forces on the QM atoms (n_qm, 3) and on the sites (n_sites, 3), eV/angstrom.
        """
        if not len(self._starts):
            return np.zeros_like(self.qm_positions), np.zeros_like(self.positions)
        energy_gradient = np.add.reduceat(self._unswitched * charge_gradient, self._starts)
        pulls = energy_gradient[:, None, None] * self._gradients
        groups = -pulls.sum(axis=1) / self._sizes[:, None]
        return pulls.sum(axis=0), np.repeat(groups, self._sizes, axis=0)


def switch(distances: Floats, cutoff: float, width: float) -> tuple[Floats, Floats]:
    """Complement 1 - s of the quintic step, and its derivative (1/angstrom), at `distances`."""
    x = np.clip((distances - (cutoff - width)) / width, 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2), 30.0 * x**2 * (1.0 - x) ** 2 / width


def point_charges(
    qm_positions: Floats, positions: Floats, box: Floats | None, groups: ChargeGroups, cutoff: float, width: float
) -> PointCharges:
    """Select, image and switch the charge groups about a QM region.

    Parameters
    ----------
    qm_positions
        QM atoms (n_qm, 3), in one piece, angstrom.
    positions
        All atoms (n, 3), each group in one piece.
    box
        Lattice vectors (3, 3), or ``None``.
    groups, cutoff, width
        Charge groups; distance at which they have vanished; width of the switch (angstrom).

    Raises
    ------
    InputError
        The cutoff reaches beyond half the box, so that images would be ambiguous.
    """
    centre = qm_positions.mean(axis=0)
    qm = qm_positions - centre
    reach = cutoff + float(np.sqrt((qm**2).sum(axis=1).max()))
    check_reach(reach, box)
    if not len(groups.atoms):
        return PointCharges(qm, groups.atoms, np.zeros((0, 3)), groups.charges, groups.charges, *_NONE)
    sites = positions[groups.atoms] - centre
    centroids = np.add.reduceat(sites, groups.starts, axis=0) / groups.sizes[:, None]
    translation = lattice_translation(centroids, box)
    translation[groups.bonded] = 0.0
    centroids += translation
    near = np.flatnonzero(((centroids**2).sum(axis=1) < reach**2) | groups.bonded)
    vectors = centroids[near, None, :] - qm[None, :, :]
    distances = np.sqrt((vectors**2).sum(axis=-1))
    absent, slope = switch(distances, cutoff, width)
    absent[groups.bonded[near]] = slope[groups.bonded[near]] = 0.0
    product = absent.prod(axis=1)
    active = product < 1.0
    near, product, absent = near[active], product[active], absent[active]
    others = product[:, None] / np.where(absent > 0.0, absent, 1.0) * (absent > 0.0)
    gradients = -(others * slope[active] / distances[active])[:, :, None] * vectors[active]
    sizes = groups.sizes[near]
    offsets = np.cumsum(sizes) - sizes
    chosen = np.arange(sizes.sum()) + np.repeat(groups.starts[near] - offsets, sizes)
    unswitched = groups.charges[chosen]
    return PointCharges(
        qm_positions=qm,
        sites=groups.atoms[chosen],
        positions=sites[chosen] + np.repeat(translation[near], sizes, axis=0),
        charges=unswitched * np.repeat(1.0 - product, sizes),
        _unswitched=unswitched,
        _starts=offsets,
        _sizes=sizes,
        _gradients=gradients,
    )


def check_reach(reach: float, box: Floats | None) -> None:
    """Raise `InputError` if `reach` = cutoff + radius of the QM region (angstrom) exceeds half the shortest box edge."""
    if reach > half_box(box):
        raise InputError(
            f"cutoff + radius of the QM region within half the shortest box edge was expected"
            f" (got {reach:.2f} angstrom in a box of {2 * half_box(box):.2f}):"
            f" make the box at least {2 * reach:.1f} angstrom, or the cutoff smaller",
            "system.cutoff",
        )


_NONE = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 0, 3)))
