r"""`Surroundings`: potential and field of the point charges at the QM atoms, the charges nearby, and the chain rule back to all.

With :math:`d_{im} = R_i - R_m` and Coulomb's constant k, the charges :math:`q_m` make

.. math::
    \phi_i = k \sum_m q_m / d_{im}, \quad
    \mathcal{E}_i = k \sum_m q_m d_{im} / d_{im}^3, \quad
    G_i = \partial \mathcal{E}_i / \partial R_i = k \sum_m q_m (1 / d^3 - 3 d d^T / d^5).

A network that sees only :math:`(R, \phi, \mathcal{E})` has forces on the QM atoms and on the charges that are linear in its
derivatives with respect to the two, so they are chained here, once, in double precision, for any number of networks. A network
that also sees the charges nearby, as atoms, adds its derivatives with respect to those.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.units import COULOMB

BLOCK = 16
"""`Nearby` has room for a multiple of so many charges, so that one recorded graph serves many frames."""


@dataclasses.dataclass(frozen=True, eq=False)
class Nearby:
    """The charges within reach of a QM atom, with places left empty up to a round number: those have no charge.

    Attributes
    ----------
    sites
        Index of each charge among all of the frame, (m,); fewer than there are places.
    numbers, positions, charges
        Elements (M,), positions relative to the centroid of the QM atoms (M, 3) and charges (M,) of all places.
    """

    sites: Ints
    numbers: Ints
    positions: Floats
    charges: Floats

    @classmethod
    def of(cls, frame: Frame, reach: float) -> Nearby:
        """Find them within `reach` (angstrom)."""
        distances = np.linalg.norm(frame.positions[:, None] - frame.mm_positions[None], axis=-1)
        sites = np.flatnonzero((distances < reach).any(axis=0) & (frame.mm_charges != 0.0))
        return cls(
            sites,
            frame.mm_numbers[sites],
            frame.mm_positions[sites] - frame.positions.mean(axis=0),
            frame.mm_charges[sites],
        ).padded(BLOCK * -(-len(sites) // BLOCK))

    def padded(self, places: int) -> Nearby:
        """The same with this many places; those without a charge lie far away."""
        empty = places - len(self.numbers)
        return Nearby(
            self.sites,
            np.pad(self.numbers, (0, empty)),
            np.concatenate([self.positions, np.full((empty, 3), 1e3)]),
            np.pad(self.charges, (0, empty)),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Surroundings:
    """What the QM atoms of one frame see of its point charges.

    Attributes
    ----------
    potential
        (n_qm,), eV/e.
    field
        (n_qm, 3), eV/(e angstrom); minus the gradient of the potential.
    gradient
        Derivative of the field at an atom with respect to that atom's position, symmetric, (n_qm, 3, 3).
    kernel
        Potential and field at each QM atom of a unit charge at each MM site, (n_qm, 4, n_mm).
    jacobian
        Derivative of potential and field with respect to the positions of the charges, (n_qm, 4, n_mm, 3).
    nearby
        The charges that the network sees as atoms, or ``None`` where it sees none so.
    """

    potential: Floats
    field: Floats
    gradient: Floats
    kernel: Floats
    jacobian: Floats
    nearby: Nearby | None = None

    @classmethod
    def of(cls, frame: Frame, reach: float | None = None) -> Surroundings:
        """Evaluate them for `frame`; all zero without charges. `reach` (angstrom) asks for the charges nearby."""
        d = frame.positions[:, None, :] - frame.mm_positions[None, :, :]
        inverse = 1.0 / np.sqrt(np.einsum("imx,imx->im", d, d))
        cube = COULOMB * inverse**3
        kernel = np.empty((frame.n_qm, 4, frame.n_mm))
        kernel[:, 0] = COULOMB * inverse
        kernel[:, 1:] = (d * cube[:, :, None]).transpose(0, 2, 1)
        sums = kernel @ frame.mm_charges
        charged = cube * frame.mm_charges
        jacobian = np.empty((frame.n_qm, 4, frame.n_mm, 3))
        jacobian[:, 0] = d * charged[:, :, None]
        scaled = d * (3.0 * charged * inverse**2)[:, :, None]
        for x in range(3):
            jacobian[:, 1 + x] = scaled[:, :, x, None] * d
            jacobian[:, 1 + x, :, x] -= charged
        gradient = -jacobian[:, 1:].sum(axis=2)
        nearby = None if reach is None else Nearby.of(frame, reach)
        return cls(sums[:, 0], sums[:, 1:], gradient, kernel, jacobian, nearby)

    def inputs(self, frame: Frame) -> list[Floats]:
        """What a network is differentiated by: centred positions, potential, field, and positions and charges nearby."""
        centred = frame.positions - frame.positions.mean(axis=0)
        near = [] if self.nearby is None else [self.nearby.positions, self.nearby.charges]
        return [centred, self.potential, self.field, *near]

    def qm_forces(self, by_positions: Floats, by_potential: Floats, by_field: Floats, *_: Floats) -> Floats:
        """Forces on the QM atoms (..., n_qm, 3), from derivatives (..., n_qm, 3), (..., n_qm), (..., n_qm, 3) of an energy.

        Derivatives by what is nearby may follow, here and in the methods below, in the order of `inputs`.
        """
        through_field = np.einsum("...ix,ixy->...iy", by_field, self.gradient)
        return by_potential[..., None] * self.field - by_positions - through_field

    def mm_forces(self, by_potential: Floats, by_field: Floats, *near: Floats) -> Floats:
        """Forces on the point charges (..., n_mm, 3)."""
        n_qm, _, n_mm, _ = self.jacobian.shape
        forces = -_join(by_potential, by_field) @ self.jacobian.reshape(4 * n_qm, 3 * n_mm)
        forces = forces.reshape(*forces.shape[:-1], n_mm, 3)
        if self.nearby is not None:
            forces[..., self.nearby.sites, :] -= near[0][..., : len(self.nearby.sites), :]
        return forces

    def charge_gradient(self, by_potential: Floats, by_field: Floats, *near: Floats) -> Floats:
        """Derivative of the energy with respect to each point charge, (..., n_mm), eV/e."""
        n_qm, _, n_mm = self.kernel.shape
        gradient = _join(by_potential, by_field) @ self.kernel.reshape(4 * n_qm, n_mm)
        if self.nearby is not None:
            gradient[..., self.nearby.sites] += near[1][..., : len(self.nearby.sites)]
        return gradient


def _join(by_potential: Floats, by_field: Floats) -> Floats:
    joined = np.concatenate([by_potential[..., None], by_field], axis=-1)
    return joined.reshape(*joined.shape[:-2], joined.shape[-2] * 4)
