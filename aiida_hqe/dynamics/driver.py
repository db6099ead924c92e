"""What dynamics needs of a potential that drives the QM region: anything with these attributes will do."""

from __future__ import annotations

from typing import Protocol

from aiida_hqe.frames import Floats, Frame


class Evaluation(Protocol):
    """Mean energy and forces of a committee for one frame, and how far its members disagree."""

    @property
    def energy(self) -> float:
        """Energy of the QM region in its point charges, eV."""

    @property
    def forces(self) -> Floats:
        """Forces on the QM atoms (n_qm, 3), eV/angstrom."""

    @property
    def mm_forces(self) -> Floats:
        """Forces on the point charges at fixed charges (n_mm, 3), eV/angstrom."""

    @property
    def charge_gradient(self) -> Floats:
        """dE/dq of each point charge (n_mm,), eV/e: the switch of the charges needs it."""

    @property
    def disagreement(self) -> float:
        """Spread of the members' forces, eV/angstrom."""

    @property
    def energy_disagreement(self) -> float:
        """Standard deviation of the members' energies, eV."""

    @property
    def member_deviations(self) -> Floats:
        """Deviation of each member's forces from the mean (n_members,), eV/angstrom."""


class Driver(Protocol):
    """A committee, or anything that evaluates frames like one."""

    def evaluate(self, frame: Frame, /) -> Evaluation:
        """Energy, forces and disagreement of one frame."""

    def alone(self, number: int, /) -> Driver:
        """One of its members, that drives by itself; asked for only where `sampling.committee_interval` is above 1."""
