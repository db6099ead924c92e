r"""The energy that leapfrog conserves, seen in the positions of successive steps.

The total energy of a step is not what leapfrog conserves: it differs by terms of the square of the time step h, which
fluctuate, and which wander as energy flows from one vibration to another. But the steps lie on a smooth curve q(t) with

.. math::
    M \frac{q(t + h) - 2 q(t) + q(t - h)}{h^2} = M \sum_{k \ge 0} \frac{2 h^{2k}}{(2k + 2)!} \, q^{(2k + 2)}(t) = F(q(t)),

and the product with the velocity v = q', integrated over time, is an energy that stays constant along it: the potential energy
plus

.. math::
    \sum_i m_i \sum_{k \ge 0} \frac{2 h^{2k}}{(2k + 2)!} \Big( \sum_{j < k} (-1)^j v_i^{(j)} v_i^{(2k - j)}
    + \frac{(-1)^k}{2} (v_i^{(k)})^2 \Big) .

Rigid bonds do no work on a curve that obeys them, so this holds with constraints too. What is left of its changes is what forces
that are not the derivatives of the energy do, rounding among it. With positions alone, monitors of this kind go back to
R. D. Engle, R. D. Skeel and M. Drees, J. Comput. Phys. 206, 432 (2005), doi:10.1016/j.jcp.2004.12.009; the sum above is ours.
"""

from __future__ import annotations

import math

import numpy as np

from aiida_hqe.frames import Floats
from aiida_hqe.units import KJ_PER_MOL, NM

REACH = 4
"""Steps to be known before and after the one whose energy is asked for."""

_ORDERS = 3
"""Terms of the sum over k; those left out are below 1e-6 of an O-H bond's energy at 0.5 fs."""

_EV = KJ_PER_MOL * (1e3 / NM) ** 2
"""One dalton angstrom^2 / fs^2 in eV."""

_STEPS = np.arange(-REACH, REACH + 1)
_WEIGHTS = np.linalg.inv(np.vander(_STEPS, increasing=True) / np.array([math.factorial(k) for k in range(len(_STEPS))]))
"""Row k: what gives the k-th derivative in the middle, in units of the time step."""


def shadow_kinetic(positions: Floats, masses: Floats, timestep: float) -> Floats:
    """Kinetic part of the conserved energy of each atom (n,), eV, at the middle one of successive steps.

    Its sum plus the potential energy in the middle stays constant at constant energy, up to rounding.

    Parameters
    ----------
    positions
        Of 2 `REACH` + 1 successive steps, (9, n, 3), angstrom, molecules not put back into the box between them.
    masses
        (n,), dalton.
    timestep
        fs.
    """
    changes = np.einsum("ks,sia->kia", _WEIGHTS[1 : 2 * _ORDERS], positions - positions[REACH])
    products = np.einsum("jia,kia->jki", changes, changes)
    energy = np.zeros(len(masses))
    for k in range(_ORDERS):
        terms = sum((-1) ** j * products[j, 2 * k - j] for j in range(k)) + 0.5 * (-1) ** k * products[k, k]
        energy += 2.0 / math.factorial(2 * k + 2) * terms
    return energy * masses * (_EV / timestep**2)
