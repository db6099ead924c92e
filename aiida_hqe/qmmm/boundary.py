"""A QM/MM boundary through covalent bonds: link atoms, and the charges of the MM atoms that they stand for.

**Link atoms.** Where the bond between a QM atom Q and an MM atom M (the *host*) is cut, a hydrogen atom saturates Q. It lies on
the bond, at a fixed distance from Q,

    R_L = R_Q + d u ,   u = (R_M - R_Q) / |R_M - R_Q| ,

so it has no coordinate of its own, and the force on it acts on both partners (chain rule):

    F_M += (d / |R_M - R_Q|) (F_L - (F_L . u) u) ,   F_Q += F_L - (what F_M got) .

(U. C. Singh, P. A. Kollman, J. Comput. Chem. 1986, 7, 718, doi:10.1002/jcc.540070604; R. C. Walker, M. F. Crowley, D. A. Case,
J. Comput. Chem. 2008, 29, 1019, doi:10.1002/jcc.20857.)

**Charges.** The charge of a host would lie half an angstrom from the link atom. It is redistributed in equal shares q0 over the
host's bonds to its MM neighbours: 2 q0 at the middle of each bond, and -q0 on the neighbour. That keeps the total charge, and
the dipole of every bond (redistributed charge and dipole, RCD: H. Lin, D. G. Truhlar, J. Phys. Chem. A 2005, 109, 3991,
doi:10.1021/jp0446332). Where force-field charges of the QM atoms do not add up to an integer, the remainder goes to the hosts
before (balanced scheme: B. Wang, D. G. Truhlar, J. Chem. Theory Comput. 2010, 6, 359, doi:10.1021/ct900366m).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from aiida_hqe.frames import Floats, Ints
from aiida_hqe.qmmm.periodic import molecules


@dataclasses.dataclass(frozen=True, eq=False)
class Boundary:
    """Link atoms and redistributed charges, as sites that follow the real atoms: links first, then charges.

    Attributes
    ----------
    links
        QM atom and host of each cut bond (n_links, 2).
    lengths
        Distance of each link atom from its QM atom (n_links,), angstrom.
    balance
        What the charge of each host gains (n_links,), e.
    middles
        Host and MM neighbour between which a redistributed charge lies (n_middles, 2).
    shares
        Share q0 of each (n_middles,), e; the site has twice that.
    """

    links: Ints
    lengths: Floats
    balance: Floats
    middles: Ints
    shares: Floats

    @classmethod
    def of(cls, links: Ints, lengths: Floats, bonds: Ints, charges: Floats, qm_atoms: Ints) -> Boundary:
        """From the cut bonds (n_links, 2), and bonds (n_bonds, 2), force-field charges (n,) and QM atoms of the assembly."""
        balance = _balance(links, bonds, charges, qm_atoms)
        middles, shares = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0)]
        for (inner, host), gained in zip(links, balance, strict=True):
            neighbours = np.setdiff1d(bonds[(bonds == host).any(axis=1)], [inner, host])
            middles.append(np.stack([np.full(len(neighbours), host), neighbours], axis=1))
            shares.append(np.full(len(neighbours), (charges[host] + gained) / max(len(neighbours), 1)))
        return cls(links, lengths, balance, np.concatenate(middles), np.concatenate(shares))

    @property
    def hosts(self) -> Ints:
        """MM atom of each cut bond."""
        return self.links[:, 1]

    def charges(self, charges: Floats) -> Floats:
        """Charges that the QM region feels, of all atoms and sites (n + n_links + n_middles,), e."""
        felt = np.concatenate([charges, np.zeros(len(self.links)), 2.0 * self.shares])
        felt[self.hosts] = 0.0
        np.subtract.at(felt, self.middles[:, 1], self.shares)
        return felt

    def numbers(self, numbers: Ints) -> Ints:
        """Atomic numbers of all atoms and sites: link atoms are hydrogen, charges have the element of their host."""
        return np.concatenate([numbers, np.ones(len(self.links), dtype=np.int64), numbers[self.middles[:, 0]]])

    def groups(self, group: Ints) -> tuple[Ints, int]:
        """Charge group of all atoms and sites, and the number of the one about the boundary (-1 where there is none).

        That group holds every group with a host or a neighbour of one in it; hosts have none, since they have no charge left.
        """
        if not len(self.links):
            return group, -1
        own = int(group[self.hosts[0]])
        extended: Ints = np.concatenate([group, np.full(len(self.links), -1), np.full(len(self.middles), own)])
        extended[np.isin(extended, group[self.middles.ravel()])] = own
        extended[self.hosts] = -1
        return extended, own

    def extend(self, positions: Floats) -> Floats:
        """Positions of all atoms and sites (n + n_links + n_middles, 3), from those of the atoms, in one piece."""
        if not len(self.links):
            return positions
        direction, _ = self._directions(positions)
        links = positions[self.links[:, 0]] + self.lengths[:, None] * direction
        return np.concatenate([positions, links, positions[self.middles].mean(axis=1)])

    def project(self, forces: Floats, positions: Floats) -> Floats:
        """Forces on the atoms (n, 3), from those on all atoms and sites: what acts on a site acts on its two parents."""
        if not len(self.links):
            return forces
        n, n_links = len(positions), len(self.links)
        real = forces[:n].copy()
        direction, distance = self._directions(positions)
        pull = forces[n : n + n_links]
        turning = pull - (pull * direction).sum(axis=1, keepdims=True) * direction
        on_hosts = (self.lengths / distance)[:, None] * turning
        np.add.at(real, self.links[:, 1], on_hosts)
        np.add.at(real, self.links[:, 0], pull - on_hosts)
        for parent in (0, 1):
            np.add.at(real, self.middles[:, parent], 0.5 * forces[n + n_links :])
        return real

    def _directions(self, positions: Floats) -> tuple[Floats, Floats]:
        """Unit vectors (n_links, 3) from QM atoms to hosts, and distances (n_links,)."""
        vectors = positions[self.links[:, 1]] - positions[self.links[:, 0]]
        distances: Floats = np.linalg.norm(vectors, axis=1)
        return vectors / distances[:, None], distances


def remainders(bonds: Ints, charges: Floats, qm_atoms: Ints) -> tuple[Ints, Floats]:
    """Fragment that each QM atom belongs to (n_qm,), and force-field charge of each fragment less the nearest integer, e."""
    inside = bonds[np.isin(bonds, qm_atoms).all(axis=1)]
    fragment = np.unique(molecules(len(charges), inside)[qm_atoms], return_inverse=True)[1]
    total = np.bincount(fragment, weights=charges[qm_atoms])
    return fragment, total - np.round(total)


def _balance(links: Ints, bonds: Ints, charges: Floats, qm_atoms: Ints) -> Floats:
    """The remainder of each fragment in equal shares on its hosts (n_links,)."""
    if not len(links):
        return np.zeros(0)
    fragment, remainder = remainders(bonds, charges, qm_atoms)
    owner = fragment[np.searchsorted(qm_atoms, links[:, 0])]
    return remainder[owner] / np.bincount(owner)[owner]
