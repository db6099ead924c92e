r"""`Surroundings`: potential and field of the point charges at the QM atoms, the charges nearby, and the chain rule back to all.

With :math:`d_{im} = R_i - R_m` and Coulomb's constant k, the charges :math:`q_m` make

.. math::
    \phi_i = k \sum_m q_m / d_{im}, \quad
    \mathcal{E}_i = k \sum_m q_m d_{im} / d_{im}^3, \quad
    G_i = \partial \mathcal{E}_i / \partial R_i = k \sum_m q_m (1 / d^3 - 3 d d^T / d^5).

A network that sees only :math:`(R, \phi, \mathcal{E})` has forces on the QM atoms and on the charges that are linear in its
derivatives :math:`p_i = \partial E / \partial \phi_i` and :math:`v_i = \partial E / \partial \mathcal{E}_i`,

.. math::
    F_m = \sum_i \frac{k q_m}{d^3} v_i - \sum_i s_{im} d_{im}, \quad
    s_{im} = \frac{k q_m}{d^3} p_i + \frac{3 k q_m}{d^5} \, v_i \cdot d_{im},

so they are chained here, once, in double precision, for any number of networks, and no array is larger than atoms times charges.
A network that also sees the charges nearby, as atoms, or what those close by make at its atoms, adds its derivatives with
respect to that.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.frames import Floats, Frame, Ints
from aiida_hqe.potentials.close import COMPONENTS, Close
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
    positions, mm_positions
        QM atoms (n_qm, 3) and charges (n_mm, 3), relative to the centroid of the QM atoms.
    unit
        Potential of a unit charge at each MM site, at each QM atom, (n_qm, n_mm).
    cube, first, second
        k / d^3, k q / d^3 and 3 k q / d^5 of each atom and charge (n_qm, n_mm).
    nearby
        The charges that the network sees as atoms, or ``None`` where it sees none so.
    close
        What the charges close by make, or ``None`` where the network does not see it.
    """

    potential: Floats
    field: Floats
    gradient: Floats
    positions: Floats
    mm_positions: Floats
    unit: Floats
    cube: Floats
    first: Floats
    second: Floats
    nearby: Nearby | None = None
    close: Close | None = None

    @classmethod
    def of(cls, frame: Frame, nearby: float | None = None, close: float | None = None) -> Surroundings:
        """Evaluate them for `frame`; all zero without charges.

        `nearby` and `close` are distances (angstrom) within which charges are seen as atoms, or by what they make at the atoms.
        """
        centre = frame.positions.mean(axis=0)
        r, s = frame.positions - centre, frame.mm_positions - centre
        inverse = _inverse_distances(r, s)
        square = inverse * inverse
        unit = COULOMB * inverse
        cube = unit * square
        first = cube * frame.mm_charges
        second = 3.0 * first * square
        total = first.sum(axis=1)
        field = r * total[:, None] - first @ s
        near = None if nearby is None else Nearby.of(frame, nearby)
        touching = None if close is None else Close.of(r, s, frame.mm_charges, inverse, close)
        gradient = total[:, None, None] * np.eye(3) - _moments(second, r, s)
        return cls(unit @ frame.mm_charges, field, gradient, r, s, unit, cube, first, second, near, touching)

    @property
    def jacobian(self) -> Floats:
        """Derivative of potential, field and what is close by the positions of the charges, (n_qm, 4 or 10, n_mm, 3)."""
        d = self.positions[:, None, :] - self.mm_positions[None, :, :]
        jacobian = np.zeros((len(d), 4 if self.close is None else 4 + COMPONENTS, *d.shape[1:]))
        jacobian[:, 0] = d * self.first[:, :, None]
        scaled = d * self.second[:, :, None]
        for x in range(3):
            jacobian[:, 1 + x] = scaled[:, :, x, None] * d
            jacobian[:, 1 + x, :, x] -= self.first
        if self.close is not None:
            jacobian[:, 4:, self.close.sites] = self.close.jacobian
        return jacobian

    def inputs(self, frame: Frame) -> list[Floats]:
        """What a network is differentiated by: centred positions, potential, field, and what else it sees.

        That is what is close by, or positions and charges of what is nearby.
        """
        centred = frame.positions - frame.positions.mean(axis=0)
        near = [] if self.nearby is None else [self.nearby.positions, self.nearby.charges]
        close = [] if self.close is None else [self.close.components]
        return [centred, self.potential, self.field, *close, *near]

    def qm_forces(self, by_positions: Floats, by_potential: Floats, by_field: Floats, *rest: Floats) -> Floats:
        """Forces on the QM atoms (..., n_qm, 3), from derivatives (..., n_qm, 3), (..., n_qm), (..., n_qm, 3) of an energy.

        Derivatives by the rest of what is seen follow, here and in the methods below, in the order of `inputs`.
        """
        through_field = np.einsum("...ix,ixy->...iy", by_field, self.gradient)
        forces = by_potential[..., None] * self.field - by_positions - through_field
        return forces if self.close is None else forces + self.close.qm_forces(rest[0])

    def mm_forces(self, by_potential: Floats, by_field: Floats, *rest: Floats) -> Floats:
        """Forces on the point charges (..., n_mm, 3)."""
        first, second = self._moments_of(by_potential, by_field)
        shape, x = (*by_potential.shape[:-1], len(self.mm_positions)), self.mm_positions.T
        on_first = (first @ self.first).reshape(7, len(first) // 7, shape[-1])
        on_second = (second @ self.second).reshape(4, 4, *on_first.shape[1:])
        sums = on_first[3:] - on_second[0] - x[0] * on_second[1] - x[1] * on_second[2] - x[2] * on_second[3]
        forces = np.moveaxis(on_first[:3] + sums[:3] - x[:, None] * sums[3], 0, -1).reshape(*shape, 3)
        if self.close is not None:
            forces[..., self.close.sites, :] += self.close.mm_forces(rest[0])
        if self.nearby is not None:
            forces[..., self.nearby.sites, :] -= rest[0][..., : len(self.nearby.sites), :]
        return forces

    def _moments_of(self, by_potential: Floats, by_field: Floats) -> tuple[Floats, Floats]:
        r"""What `mm_forces` sums over the atoms with weights `first`, (7 K, n), and `second`, (16 K, n); :math:`r^1 = (r, 1)`.

        The former are :math:`v` and :math:`-p r^1`, the latter :math:`(v \cdot r) r^1` and :math:`-v_x r^1` for each x.
        """
        n = len(self.positions)
        p, v = by_potential.reshape(-1, n), by_field.reshape(-1, n, 3)
        places = np.concatenate([self.positions, np.ones((n, 1))], axis=1)
        along = (v * self.positions).sum(axis=-1, keepdims=True)
        first = np.concatenate([v, -p[..., None] * places], axis=-1)
        second = np.concatenate([along, -v], axis=-1)[..., None] * places[:, None]
        return first.transpose(2, 0, 1).reshape(-1, n), second.transpose(2, 3, 0, 1).reshape(-1, n)

    def charge_gradient(self, by_potential: Floats, by_field: Floats, *rest: Floats) -> Floats:
        """Derivative of the energy with respect to each point charge, (..., n_mm), eV/e."""
        gradient = by_potential @ self.unit + (self._along(by_field) * self.cube).sum(axis=-2)
        if self.close is not None:
            gradient[..., self.close.sites] += self.close.charge_gradient(rest[0])
        if self.nearby is not None:
            gradient[..., self.nearby.sites] += rest[1][..., : len(self.nearby.sites)]
        return gradient

    def _along(self, vectors: Floats) -> Floats:
        """Scalar products (..., n_qm, n_mm) of vectors (..., n_qm, 3) at the atoms with those from the charges to the atoms."""
        return (vectors * self.positions).sum(axis=-1)[..., None] - vectors @ self.mm_positions.T


def _inverse_distances(r: Floats, s: Floats) -> Floats:
    """One over the distances (n, m) between points (n, 3) and (m, 3)."""
    squares = np.zeros((len(r), len(s)))
    for x in range(3):
        difference = r[:, x, None] - s[:, x]
        difference *= difference
        squares += difference
    return 1.0 / np.sqrt(squares)


def _moments(weights: Floats, r: Floats, s: Floats) -> Floats:
    """Sums (n, 3, 3) over m of weights (n, m) times the dyadic squares of r_n - s_m."""
    dyads = (s[:, :, None] * s[:, None, :]).reshape(-1, 9)
    sums = weights @ np.concatenate([np.ones((len(s), 1)), s, dyads], axis=1)
    cross = r[:, :, None] * sums[:, None, 1:4]
    squares = r[:, :, None] * r[:, None, :] * sums[:, 0, None, None]
    return squares - cross - cross.transpose(0, 2, 1) + sums[:, 4:].reshape(-1, 3, 3)
