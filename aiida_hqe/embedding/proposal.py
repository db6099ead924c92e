"""`propose`: cores for a set of configurations, with the thresholds and gaps that they rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pyscf import lib
from pyscf.data.elements import ELEMENTS

from aiida_hqe.embedding.cores import Choice, choose, orbitals_only
from aiida_hqe.embedding.direct_selection import KINETIC_THRESHOLD, LOCATION_THRESHOLD, Changes, compare, core_sets
from aiida_hqe.embedding.environment import EnvironmentState, solve_environment
from aiida_hqe.embedding.level import Level
from aiida_hqe.embedding.molecule import core_atoms
from aiida_hqe.errors import HQEError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.settings import Settings

SCALES = (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
"""Factors of both thresholds whose cores are proposed as alternatives."""

SPINS = ("alpha", "beta")


class OrbitalChange(Settings):
    """How one localized orbital changes over the frames.

    Attributes
    ----------
    name
        What it is, and on which atoms (element and index): ``O1-H5 bond``, ``lone pair of O1``, ``inner shell of O1``.
    spin
        ``alpha`` or ``beta`` of an open shell; ``None`` for a doubly occupied orbital.
    atoms
        Atoms it lies on.
    kinetic
        Largest difference of its kinetic energy between two frames, eV.
    location
        Largest difference of its populations between two frames, absolute values summed over shells of atoms, 0 to 2.
    score
        The larger of both over its threshold.
    selected
        Whether that is above 1, which puts its atoms into a core.
    """

    name: str
    spin: str | None
    atoms: list[int]
    kinetic: float
    location: float
    score: float
    selected: bool


class Core(Settings):
    """A core, proposed or as the frames mark it: its number, atoms, and number of orbitals."""

    core: int
    atoms: list[int]
    choice: Choice


class Alternative(Settings):
    """Atoms of the cores at other thresholds: of the kinetic energy (eV), and of the location."""

    kinetic_threshold: float
    location_threshold: float
    cores: list[list[int]]


class Proposal(Settings):
    """What `propose` found.

    Attributes
    ----------
    frames
        Hashes of the frames that were compared; orbitals are named after the first.
    kinetic_threshold, location_threshold
        Thresholds (eV, and a fraction of an orbital).
    partition
        Scheme of the gaps.
    symbols
        Element of each QM atom.
    bonds
        Pairs of atoms on which one orbital lies.
    orbitals
        Every occupied orbital, the one that changes most first.
    cores
        Proposed cores; empty where no orbital changes by more than a threshold.
    marked
        The cores that the frames mark, with the number of orbitals that is clear in all frames.
    alternatives
        Cores at larger and smaller thresholds, where they differ.
    """

    frames: list[str]
    kinetic_threshold: float
    location_threshold: float
    partition: str
    symbols: list[str]
    bonds: list[tuple[int, int]]
    orbitals: list[OrbitalChange]
    cores: list[Core]
    marked: list[Core]
    alternatives: list[Alternative]

    @property
    def alike(self) -> bool:
        """Whether the frames differ in nothing that matters: no orbital changes by a hundredth of a threshold."""
        return all(orbital.score < 0.01 for orbital in self.orbitals)

    @property
    def core_orbitals(self) -> list[int] | None:
        """`core_orbitals` of a level for the proposed cores; ``None`` where one has no clear number, or there are none."""
        counts = [core.choice.orbitals for core in self.cores]
        known = [count for count in counts if count is not None]
        return known if counts and len(known) == len(counts) else None

    def mark(self, frames: Frames) -> Frames:
        """The frames, unlabelled, with the proposed cores in place of those they had."""
        marks = np.zeros(len(self.symbols), dtype=np.int64)
        for core in self.cores:
            marks[core.atoms] = core.core
        return Frames(frame.unlabelled().replace(core=marks) for frame in frames)


def propose(
    frames: Frames,
    level: Level,
    *,
    kinetic: float = KINETIC_THRESHOLD,
    location: float = LOCATION_THRESHOLD,
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Proposal:
    """Propose cores for frames of one molecule: what changes between them.

    Parameters
    ----------
    frames
        Two or more configurations, their atoms in one order.
    level
        Its environment is what is compared, its partition gives the gaps.
    kinetic, location
        Thresholds of an orbital's kinetic energy (eV) and of its populations (fraction of the orbital).
    threads
        OpenMP threads of PySCF; ``None`` leaves them as they are.
    progress
        Called with the number of frames done, and of all.

    Raises
    ------
    InputError
        Fewer than two frames, or frames of different molecules.
    HQEError
        The environment of a frame cannot be computed; the message names the frame.
    """
    states = []
    with lib.with_omp_threads(threads):
        for done, frame in enumerate(frames, start=1):
            states.append(_solved(frame, level))
            progress(done, len(frames))
    changes = compare(states)
    marks = [core_atoms(frames[0], core) for core in range(1, frames[0].n_cores + 1)]
    found = core_sets(changes, kinetic, location)
    orbitals = _orbitals(changes, states[0], kinetic, location)
    return Proposal(
        frames=[frame.hash for frame in frames],
        kinetic_threshold=kinetic,
        location_threshold=location,
        partition=level.embedding.partition,
        symbols=[ELEMENTS[z] for z in frames[0].numbers],
        bonds=sorted({pair for orbital in orbitals for pair in _pairs(orbital.atoms)}),
        orbitals=orbitals,
        cores=_cores(states, found, level),
        marked=_cores(states, marks, level),
        alternatives=_alternatives(changes, kinetic, location, found),
    )


def _solved(frame: Frame, level: Level) -> EnvironmentState:
    try:
        return orbitals_only(solve_environment(frame, level.environment))
    except HQEError as error:
        error.args = (f"frame {frame.hash[:12]}: {error}", *error.args[1:])
        raise


def _cores(states: Sequence[EnvironmentState], sets: list[list[int]], level: Level) -> list[Core]:
    scheme = level.embedding.scheme
    return [Core(core=n, atoms=atoms, choice=choose(states, atoms, scheme)) for n, atoms in enumerate(sets, start=1)]


def _orbitals(changes: list[Changes], state: EnvironmentState, kinetic: float, location: float) -> list[OrbitalChange]:
    """Every orbital of every spin channel, the one that changes most first."""
    spins = SPINS if len(changes) == 2 else (None,)
    found = [
        OrbitalChange(
            name=_name(channel, orbital, state),
            spin=spin,
            atoms=channel.atoms(orbital),
            kinetic=float(channel.kinetic[orbital]),
            location=float(channel.location[orbital]),
            score=float(score),
            selected=bool(score > 1),
        )
        for spin, channel in zip(spins, changes, strict=True)
        for orbital, score in enumerate(channel.score(kinetic, location))
    ]
    return sorted(found, key=lambda orbital: -orbital.score)


def _name(channel: Changes, orbital: int, state: EnvironmentState) -> str:
    atoms = [f"{state.mol.atom_pure_symbol(atom)}{atom}" for atom in channel.atoms(orbital)]
    if orbital < channel.n_inner:
        return f"inner shell of {'-'.join(atoms)}"
    return f"{'-'.join(atoms)} bond" if len(atoms) > 1 else f"lone pair of {''.join(atoms)}"


def _pairs(atoms: list[int]) -> list[tuple[int, int]]:
    return [(one, other) for place, one in enumerate(atoms) for other in atoms[place + 1 :]]


def _alternatives(
    changes: list[Changes], kinetic: float, location: float, proposed: list[list[int]]
) -> list[Alternative]:
    """Cores at scaled thresholds, from the largest thresholds to the smallest; what repeats the one before is left out."""
    found: list[Alternative] = []
    for scale in SCALES:
        sets = core_sets(changes, scale * kinetic, scale * location)
        if sets and sets != proposed and (not found or found[-1].cores != sets):
            found.append(
                Alternative(kinetic_threshold=scale * kinetic, location_threshold=scale * location, cores=sets)
            )
    return found
