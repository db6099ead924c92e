"""Direct orbital selection: the occupied orbitals that change between configurations, and the cores they make.

Localized (intrinsic bond) orbitals of every frame are paired with those of the first one and compared by two numbers that no
rotation of a frame and no numbering of its atoms changes: the kinetic energy of the orbital, and its populations on the shells
of the intrinsic atomic orbitals. An orbital belongs to a core where one of them changes by more than its threshold. Orbitals that
lie on the same atoms (two lone pairs, the bonds of a double bond) may turn among themselves for no reason: none of them changes
by more than all of them together.

Sources: M. Bensberg, J. Neugebauer, J. Chem. Phys. 2019, 150, 214106, doi:10.1063/1.5099007 (selection, both measures);
J. Chem. Theory Comput. 2020, 16, 3607, doi:10.1021/acs.jctc.0c00037 (alignment).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyscf import lo
from pyscf.data.elements import chemcore

from aiida_hqe.embedding.alignment import align, match
from aiida_hqe.embedding.environment import EnvironmentState
from aiida_hqe.embedding.localization import intrinsic_atomic, localizing_rotation
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Ints
from aiida_hqe.units import HARTREE

KINETIC_THRESHOLD = 0.05 * HARTREE
"""Change of an orbital's kinetic energy (eV) above which it belongs to a core: 0.05 hartree."""

LOCATION_THRESHOLD = 0.05
"""Change of an orbital's populations (fraction of the orbital, summed over shells) above which it belongs to a core."""

SHARE = 0.2
"""An orbital lies on the atoms that hold at least this fraction of it in some frame."""


@dataclasses.dataclass(frozen=True, eq=False)
class Changes:
    """How the localized orbitals of one spin channel change over the frames.

    Attributes
    ----------
    populations
        Fraction of each orbital on each atom in each frame (n_frames, n_orbitals, n_atoms). Orbitals are in the order of the
        first frame, inner shells before valence orbitals.
    kinetic
        Largest difference between two frames of an orbital's kinetic energy (n_orbitals,), eV; at most that of the sum over the
        orbitals on the same atoms.
    location
        Largest difference between two frames of its populations, absolute values summed over shells (n_orbitals,), 0 to 2; at
        most that of the sum over the orbitals on the same atoms.
    n_inner
        Number of inner shells.
    """

    populations: Floats
    kinetic: Floats
    location: Floats
    n_inner: int

    def atoms(self, orbital: int) -> list[int]:
        """Atoms on which an orbital lies."""
        return np.flatnonzero(self.populations[:, orbital].max(axis=0) >= SHARE).tolist()

    def score(self, kinetic: float, location: float) -> Floats:
        """The larger of an orbital's two changes over their thresholds (eV, and a fraction); above 1 it is a core's."""
        return np.maximum(self.kinetic / kinetic, self.location / location)


def compare(states: Sequence[EnvironmentState]) -> list[Changes]:
    """Changes of the localized orbitals of each spin channel over converged states of one molecule.

    Raises
    ------
    InputError
        Fewer than two states, or states of different molecules.
    """
    if len(states) < 2:
        raise InputError(f"two or more frames were expected to compare (got {len(states)}): add configurations")
    first = states[0]
    for state in states[1:]:
        same = state.n_occupied == first.n_occupied and state.mol.natm == first.mol.natm
        if not same or np.any(state.mol.atom_charges() != first.mol.atom_charges()):
            raise InputError(
                "frames of one molecule, its atoms always in one order, were expected (got different ones): split the file"
            )
    return [_changes(states, spin) for spin in range(first.n_spin)]


def core_sets(changes: Sequence[Changes], kinetic: float, location: float) -> list[list[int]]:
    """Atoms of each core, at a threshold of the kinetic energy (eV) and one of the populations.

    They are those of the orbitals above a threshold; atoms on which one occupied orbital lies belong to one core.
    """
    n_atoms = changes[0].populations.shape[2]
    bonded, inside = np.eye(n_atoms, dtype=bool), np.zeros(n_atoms, dtype=bool)
    for channel in changes:
        for orbital, score in enumerate(channel.score(kinetic, location)):
            atoms = channel.atoms(orbital)
            bonded[np.ix_(atoms, atoms)] = True
            inside[atoms] |= bool(score > 1)
    return _components(bonded, set(np.flatnonzero(inside).tolist()))


def _components(bonded: NDArray[np.bool_], left: set[int]) -> list[list[int]]:
    """Connected sets among the atoms `left`, in the order of their first atoms."""
    found = []
    while left:
        reached: set[int] = set()
        edge = {min(left)}
        while edge:
            reached |= edge
            edge = {atom for atom in left - reached if bonded[atom, sorted(edge)].any()}
        left = left - reached
        found.append(sorted(reached))
    return found


def _changes(states: Sequence[EnvironmentState], spin: int) -> Changes:
    """Localize every frame like the first, and take the largest differences over all pairs of frames."""
    populations: list[Floats] = []
    kinetic: list[Floats] = []
    for state in states:
        U, shells = _localized(state, spin, populations[0] if populations else None)
        C = state.occupied(spin) @ U
        populations.append(shells)
        kinetic.append(np.einsum("pi,pi->i", C, state.mol.intor_symmetric("int1e_kin") @ C))
    n_atoms, n_inner = states[0].mol.natm, chemcore(states[0].mol)
    by_shell, energies = np.array(populations), HARTREE * np.array(kinetic)
    by_atom = _by_atom(by_shell, _shells(states[0])[1], n_atoms)
    together = _groups(by_atom, n_inner)
    return Changes(
        populations=by_atom,
        kinetic=np.minimum(np.ptp(energies, axis=0), np.ptp(energies @ together, axis=0)),
        location=np.minimum(_largest_distance(by_shell), _largest_distance(np.swapaxes(together, 0, 1) @ by_shell)),
        n_inner=n_inner,
    )


def _groups(populations: Floats, n_inner: int) -> Floats:
    """1 where two inner shells, or two valence orbitals, lie on the same atoms, else 0 (n_orbitals, n_orbitals)."""
    lies = populations.max(axis=0) >= SHARE
    same = (lies[:, None] == lies[None]).all(axis=2)
    inner = np.arange(len(lies)) < n_inner
    return np.asarray(same & (inner[:, None] == inner[None]), dtype=float)


def _localized(state: EnvironmentState, spin: int, reference: Floats | None) -> tuple[Floats, Floats]:
    """Rotation to localized orbitals (n_occ, n_occ), and their populations (n_occ, n_shells), in the order of a reference."""
    coefficients, owners = intrinsic_atomic(state, spin)
    shells, n = _shells(state)[0], coefficients.shape[1]
    n_inner, guess = chemcore(state.mol), np.eye(n)
    if reference is not None:
        guess = _blocks(n, n_inner, lambda part: align(_charges(coefficients[:, part], shells), reference[part]))
    U = guess @ localizing_rotation(state, (coefficients @ guess, owners), exponent=4)
    if reference is not None:
        found = _populations(coefficients @ U, shells)
        U = U @ _blocks(n, n_inner, lambda part: np.eye(part.stop - part.start)[:, match(found[part], reference[part])])
    return U, _populations(coefficients @ U, shells)


def _blocks(n: int, n_inner: int, rotation: Callable[[slice], Floats]) -> Floats:
    """Rotation (n, n) of inner shells and of valence orbitals among themselves."""
    U = np.zeros((n, n))
    for part in (slice(0, n_inner), slice(n_inner, n)):
        U[part, part] = rotation(part)
    return U


def _shells(state: EnvironmentState) -> tuple[Ints, Ints]:
    """Shell of each intrinsic atomic orbital, and atom of each shell."""
    labels = [label[:3] for label in lo.iao.reference_mol(state.mol).ao_labels(fmt=None)]
    names = list(dict.fromkeys(labels))
    return np.array([names.index(label) for label in labels]), np.array([name[0] for name in names])


def _charges(coefficients: Floats, shells: Ints) -> Floats:
    """Populations ``Q^s_ij`` on each shell (n_shells, n, n) of orbitals given in intrinsic atomic orbitals."""
    parts = [coefficients[shells == shell] for shell in range(shells.max() + 1)]
    return np.array([part.T @ part for part in parts])


def _populations(coefficients: Floats, shells: Ints) -> Floats:
    """Populations (n, n_shells) of orbitals given in intrinsic atomic orbitals."""
    return np.array([(coefficients[shells == shell] ** 2).sum(axis=0) for shell in range(shells.max() + 1)]).T


def _by_atom(populations: Floats, owners: Ints, n_atoms: int) -> Floats:
    """Populations of atoms, from those of shells in the last axis."""
    return np.stack([populations[..., owners == atom].sum(axis=-1) for atom in range(n_atoms)], axis=-1)


def _largest_distance(populations: Floats) -> Floats:
    """Largest distance between two frames of each orbital's populations (n_frames, n_orbitals, n_shells)."""
    largest = np.zeros(populations.shape[1])
    for one in populations:
        largest = np.maximum(largest, np.abs(populations - one).sum(axis=2).max(axis=0))
    return largest
