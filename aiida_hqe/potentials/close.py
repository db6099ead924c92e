r"""`Close`: what a network sees of the charges close by beyond potential and field.

Charges and dipoles of atoms do not describe a molecule to charges that touch it: quadrupoles count there, and the charges reach
into its density. With :math:`d = R_i - R_m`, Coulomb's constant k, a length a, and five symmetric matrices :math:`B_a` without
trace, orthonormal, an atom has six components,

.. math::
    c_{i0} = \sum_m q_m g(d_{im}), \quad g(d) = k f(d) \, e^{-d/a} / a, \qquad
    c_{i\alpha} = \sum_m q_m h(d_{im}) \, d_{im}^T B_\alpha d_{im}, \quad h(d) = 3 k f(d) / d^5,

of which the first stands for the contact, and the others are the curvature :math:`\nabla \nabla \phi`. Charges beyond a reach do
not count; there :math:`f = (1 + \cos)/2` goes smoothly to zero. For a derivative :math:`p_i = \partial E / \partial c_{i0}` and
:math:`M_i = \sum_\alpha B_\alpha \, \partial E / \partial c_{i\alpha}` each pair adds to :math:`\partial E / \partial R_i`

.. math:: g_{im} = q_m (2 h \, M_i d_{im} + (h' / d \; d_{im}^T M_i d_{im} + p_i \, g' / d) \, d_{im}) .
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.frames import Floats, Ints
from aiida_hqe.units import COULOMB

BASIS: Floats = np.array(
    [
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 1], [0, 1, 0]],
        [[0, 0, 1], [0, 0, 0], [1, 0, 0]],
        [[1, 0, 0], [0, -1, 0], [0, 0, 0]],
        [[-1 / np.sqrt(3), 0, 0], [0, -1 / np.sqrt(3), 0], [0, 0, 2 / np.sqrt(3)]],
    ]
) / np.sqrt(2.0)
"""The matrices B (5, 3, 3)."""

COMPONENTS = 1 + len(BASIS)

CONTACT = 0.5
"""The length a (angstrom) over which the tail of a density falls off."""


@dataclasses.dataclass(frozen=True, eq=False)
class Close:
    """What the charges within reach make of it, for one frame.

    Attributes
    ----------
    sites
        Index of each such charge among all of the frame, (m,).
    positions, mm_positions
        QM atoms (n_qm, 3) and these charges (m, 3), angstrom, from one origin.
    charges
        (m,), e.
    vectors, squares
        From each charge to each atom (n_qm, m, 3), and their squares in the five matrices, :math:`d^T B d`, (n_qm, m, 5).
    contact, contact_slope, curvature, curvature_slope
        g(d), g'(d) / d, h(d) and h'(d) / d of each atom and charge, (n_qm, m), in eV/e^2 per angstrom to the power of 0, 2, 4
        and 6.
    """

    sites: Ints
    positions: Floats
    mm_positions: Floats
    charges: Floats
    vectors: Floats
    squares: Floats
    contact: Floats
    contact_slope: Floats
    curvature: Floats
    curvature_slope: Floats

    @classmethod
    def of(cls, positions: Floats, mm_positions: Floats, charges: Floats, inverse: Floats, reach: float) -> Close:
        """Evaluate it for those of the charges (n_mm,) that are within `reach` (angstrom) of an atom.

        Parameters
        ----------
        positions, mm_positions, inverse
            Atoms (n_qm, 3) and charges (n_mm, 3), angstrom, and one over the distances between them (n_qm, n_mm).
        """
        sites = np.flatnonzero((inverse.max(axis=0) > 1.0 / reach) & (charges != 0.0))
        s, u = mm_positions[sites], inverse[:, sites]
        vectors, d, square = positions[:, None] - s, 1.0 / u, u * u
        inside, frequency = d < reach, np.pi / reach
        switch = 0.5 * (1.0 + np.cos(frequency * d)) * inside
        slope = -0.5 * frequency * np.sin(frequency * d) * inside
        tail, power = COULOMB / CONTACT * np.exp(-d / CONTACT), 3.0 * COULOMB * square * square * u
        return cls(
            sites,
            positions,
            s,
            charges[sites],
            vectors,
            (vectors[..., _ROWS] * vectors[..., _COLUMNS]) @ _SQUARES,
            tail * switch,
            tail * (slope - switch / CONTACT) * u,
            power * switch,
            power * (slope - 5.0 * switch * u) * u,
        )

    @property
    def components(self) -> Floats:
        """Contact and curvature (n_qm, 6), eV/e and eV/(e angstrom^2)."""
        curvature = ((self.curvature * self.charges)[:, None] @ self.squares)[:, 0]
        return np.column_stack([self.contact @ self.charges, curvature])

    @property
    def jacobian(self) -> Floats:
        """Derivative of the components by the positions of these charges, (n_qm, 6, m, 3)."""
        turned = (self.vectors @ BASIS.transpose(1, 0, 2).reshape(3, -1)).reshape(*self.squares.shape, 3)
        along = self.curvature_slope[..., None, None] * self.squares[..., None] * self.vectors[:, :, None]
        curvature = 2.0 * self.curvature[..., None, None] * turned + along
        contact = (self.contact_slope[..., None] * self.vectors)[:, :, None]
        pulls = self.charges[:, None, None] * np.concatenate([contact, curvature], axis=2)
        return -np.moveaxis(pulls, 2, 1)

    @property
    def slope(self) -> Floats:
        """Derivative of the components at an atom by that atom's position, (n_qm, 6, 3)."""
        return -self.jacobian.sum(axis=2)

    def qm_forces(self, by_components: Floats) -> Floats:
        """Forces on the QM atoms (..., n_qm, 3), from derivatives (..., n_qm, 6) of an energy."""
        turned = ((self.charges * self.curvature)[:, None] @ self.vectors)[:, 0, :, None]
        on_curvature = 2.0 * (_matrices(by_components) @ turned)[..., 0]
        forces: Floats = -on_curvature - (self._outward(by_components)[..., None, :] @ self.vectors)[..., 0, :]
        return forces

    def mm_forces(self, by_components: Floats) -> Floats:
        """Forces on these charges (..., m, 3), from derivatives (..., n_qm, 6) of an energy."""
        matrices = _matrices(by_components)
        at_atoms = (matrices @ self.positions[..., None])[..., 0]
        joined = np.concatenate([at_atoms, matrices.reshape(*matrices.shape[:-2], 9)], axis=-1)
        sums = self.curvature.T @ joined
        turned = sums[..., :3] - (sums[..., 3:].reshape(*sums.shape[:-1], 3, 3) @ self.mm_positions[..., None])[..., 0]
        outward = np.swapaxes(self._outward(by_components), -1, -2)
        pushed = outward @ self.positions - outward.sum(axis=-1, keepdims=True) * self.mm_positions
        forces: Floats = 2.0 * self.charges[:, None] * turned + pushed
        return forces

    def charge_gradient(self, by_components: Floats) -> Floats:
        """Derivative of the energy by each of these charges, (..., m), eV/e."""
        along = (by_components[..., None, 1:] * self.squares).sum(axis=-1)
        gradient: Floats = (self.curvature * along + by_components[..., :1] * self.contact).sum(axis=-2)
        return gradient

    def _outward(self, by_components: Floats) -> Floats:
        """What each pair adds along its vector to the derivative by the atom's position, (..., n_qm, m), eV/angstrom^2."""
        along = (self.squares @ by_components[..., 1:, None])[..., 0]
        slopes: Floats = self.curvature_slope * along + self.contact_slope * by_components[..., :1]
        return self.charges * slopes


_ROWS, _COLUMNS = (0, 1, 2, 0, 1, 0), (0, 1, 2, 1, 2, 2)
_SQUARES: Floats = np.array([(1 + (x != y)) * BASIS[:, x, y] for x, y in zip(_ROWS, _COLUMNS, strict=True)])
"""What the six products of a vector's components count in its squares in the five matrices, (6, 5)."""


def _matrices(by_components: Floats) -> Floats:
    return (by_components[..., 1:] @ BASIS.reshape(-1, 9)).reshape(*by_components.shape[:-1], 3, 3)
