"""What perturbative triples add to multipliers and densities of CCSD, in one pass over the triples.

``w_ijk^abc = P [sum_f (ia|fb) t_kjcf - sum_m (ia|jm) t_mkbc] / d`` and ``v_ijk^abc = P [(ia|jb) t_kc] / d`` with the six
simultaneous permutations P and ``d = e_i + e_j + e_k - e_a - e_b - e_c``; the energy is quadratic in them. For each pair (j, k)
the amplitudes of all i are in memory, ``n_occupied n_virtual^3`` numbers, and every quantity below takes its share.
K. Raghavachari et al., Chem. Phys. Lett. 1989, 157, 479, doi:10.1016/S0009-2614(89)87395-6; gradients: A. P. Rendell, T. J. Lee,
J. Chem. Phys. 1991, 94, 6219, doi:10.1063/1.460411.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from aiida_hqe.frames import Floats

PERMUTATIONS = tuple(itertools.permutations(range(3)))
"""Of three pairs of an occupied and a virtual orbital."""


class Triples:
    """Contributions of the triples of closed shells with canonical orbitals.

    Parameters
    ----------
    t1, t2
        Amplitudes of CCSD (n_o, n_v), (n_o, n_o, n_v, n_v).
    eris
        PySCF's integrals of the solver.

    Attributes
    ----------
    l1, l2
        What is added to the multipliers in each of their iterations, as `t1` and `t2`.
    doo, dvv, dvo
        Contributions to the blocks of the one-particle density; the first two with the off-diagonal elements that gradients need.
    dovov, dooov, dovvv
        Contributions to PySCF's blocks of the two-particle density; `dovvv` with its last two indices exchanged.
    """

    def __init__(self, t1: Floats, t2: Floats, eris: Any) -> None:
        n_o, n_v = t1.shape
        self._t1, self._t2 = t1, np.ascontiguousarray(t2)
        self._ovvv = np.ascontiguousarray(np.asarray(eris.get_ovvv()).transpose(0, 1, 3, 2))  # (ia|fb) as i, a, b, f
        self._ovoo, self._ovov = np.asarray(eris.ovoo), np.asarray(eris.ovov)
        e = np.asarray(eris.mo_energy)
        self._e_o, e_v = e[:n_o], e[n_o:]
        self._e_vvv = e_v[:, None, None] + e_v[:, None] + e_v
        self.doo, self.dvv, self.dvo = np.zeros((n_o, n_o)), np.zeros((n_v, n_v)), np.zeros((n_v, n_o))
        self.dovov, self.dooov = np.zeros((n_o, n_v, n_o, n_v)), np.zeros((n_o, n_o, n_o, n_v))
        self.dovvv = np.zeros((n_o, n_v, n_v, n_v))
        self.l1, self.l2 = np.zeros((n_o, n_v)), np.zeros((n_o, n_o, n_v, n_v))
        for k, j in itertools.combinations_with_replacement(range(n_o), 2):
            self._add(j, k)
        gap = self._e_o[:, None] - e_v
        self.l1 /= gap
        self.l2 = (self.l2 + self.l2.transpose(1, 0, 3, 2)) / (gap[:, None, :, None] + gap[:, None])

    def _add(self, j: int, k: int) -> None:
        """Shares of (i, j, k) and of (i, k, j) for all i."""
        orders = [(j, k)] if j == k else [(j, k), (k, j)]
        left, right = [], []
        for i in range(len(self._e_o)):
            w, v = self._amplitudes(i, j, k)
            r = _spin_summed(w)
            left.append((w + 0.5 * v).ravel())
            right.append(r.ravel())
            self.dvv += 0.5 * len(orders) * left[-1].reshape(len(w), -1) @ r.reshape(len(w), -1).T
            both = 2.0 * w + 0.5 * v
            for p, q in orders:
                swapped = (lambda x: x) if p == j else (lambda x: np.ascontiguousarray(x.transpose(0, 2, 1)))
                self._add_densities(i, p, q, swapped(r), swapped(_spin_summed(both)))
                self._add_multipliers(i, p, q, swapped(r), swapped(both))
        self.doo -= 0.5 * len(orders) * np.array(left) @ np.array(right).T

    def _amplitudes(self, i: int, j: int, k: int) -> tuple[Floats, Floats]:
        """``w`` and ``v`` (n_v, n_v, n_v)."""
        n_v, occupied = self._t1.shape[1], (i, j, k)
        w = np.zeros((n_v, n_v, n_v))
        for order in PERMUTATIONS:
            p, q, r = (occupied[x] for x in order)
            term = self._ovvv[p].reshape(-1, n_v) @ self._t2[r, q].T
            term = term.reshape(n_v, -1) - self._ovoo[p, :, q] @ self._t2[:, r].reshape(len(self._t1), -1)
            w += term.reshape(w.shape).transpose(np.argsort(order))
        ij, ik, jk = (self._ovov[p, :, q] for p, q in ((i, j), (i, k), (j, k)))
        v = ij[:, :, None] * self._t1[k] + ik[:, None] * self._t1[j][:, None] + jk * self._t1[i][:, None, None]
        d = self._e_o[list(occupied)].sum() - self._e_vvv
        return w / d, 2.0 * v / d

    def _add_densities(self, i: int, j: int, k: int, r: Floats, both: Floats) -> None:
        t1, t2, n_v = self._t1, self._t2, self._t1.shape[1]
        self.dvo[:, k] += 0.5 * t2[i, j].ravel() @ r.reshape(-1, n_v)
        self.dovov[i, :, j] += 0.5 * r @ t1[k]
        self.dooov[j, :, i] -= (both.reshape(n_v, -1) @ t2[:, k].reshape(len(t1), -1).T).T
        self.dovvv[i] += (both.reshape(-1, n_v) @ t2[k, j]).reshape(r.shape)

    def _add_multipliers(self, i: int, j: int, k: int, r: Floats, both: Floats) -> None:
        n_v = self._t1.shape[1]
        self.l1[i] += 0.5 * r.reshape(n_v, -1) @ self._ovov[j, :, k].ravel()
        m = 2.0 * both - both.transpose(2, 1, 0) - both.transpose(0, 2, 1)
        self.l2[i, j] += m.transpose(0, 2, 1).reshape(n_v, -1) @ self._ovvv[k].reshape(-1, n_v)
        self.l2[i] -= (m.reshape(-1, n_v) @ self._ovoo[k, :, j]).T.reshape(-1, n_v, n_v)


def _spin_summed(w: Floats) -> Floats:
    """Amplitudes times the spin factors of closed shells."""
    found = 4.0 * w + w.transpose(1, 2, 0) + w.transpose(2, 0, 1)
    found -= 2.0 * (w.transpose(2, 1, 0) + w.transpose(0, 2, 1) + w.transpose(1, 0, 2))
    return found
