"""`Assembly`: a molecular system with its force field, QM region, quantum cores and state; HDF5 in and out."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Floats, Frame, Ints, Scalar
from aiida_hqe.hdf5 import check_datasets
from aiida_hqe.qmmm.boundary import Boundary
from aiida_hqe.qmmm.charges import ChargeGroups, PointCharges, point_charges
from aiida_hqe.qmmm.periodic import lattice_translation, molecules, spanning_tree, whole
from aiida_hqe.writing import creating

FORMAT = "hqe-assembly-1"

_LARGEST = 1 << 32
"""Bytes of the largest array of an assembly that is read."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Assembly:
    """A molecular system: what it is, how it is divided, and where its atoms are.

    Attributes
    ----------
    numbers
        Atomic numbers (n,); 0 for a site that is no atom.
    charges
        Force-field charges (n,), e.
    bonds
        Pairs of bonded atoms (n_bonds, 2); they say which atoms form a molecule.
    group
        Charge group of each MM atom, switched as one; -1 for QM atoms (n,).
    qm_atoms
        Indices of the QM atoms (n_qm,), ascending.
    core
        Number of the quantum core of each QM atom, 0 for none (n_qm,).
    charge, spin
        Charge of the QM region, and 2S.
    cutoff, switch_width
        Distance (angstrom) at which MM charges have vanished, and over which they are switched off.
    system
        OpenMM `System` of the full force field, as XML, with every bond and angle term also where bonds are rigid.
    positions
        (n, 3), angstrom.
    velocities
        (n, 3), angstrom/fs, or ``None`` before any dynamics.
    box
        Lattice vectors in rows (3, 3), angstrom, lower triangular; ``None`` without periodicity.
    links
        QM atom and MM atom of each bond that the region cuts (n_links, 2); a link atom saturates it.
    link_lengths
        Distance of each link atom from its QM atom (n_links,), angstrom.

    Raises
    ------
    InputError
        A shape is wrong, an index is out of range or a value is not finite.
    """

    numbers: Ints
    charges: Floats
    bonds: Ints
    group: Ints
    qm_atoms: Ints
    core: Ints
    charge: int
    spin: int
    cutoff: float
    switch_width: float
    system: str
    positions: Floats
    velocities: Floats | None = None
    box: Floats | None = None
    links: Ints = dataclasses.field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    link_lengths: Floats = dataclasses.field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        n, n_qm = len(self.numbers), len(self.qm_atoms)
        for name, shape, dtype in (
            ("numbers", (n,), np.int64),
            ("charges", (n,), np.float64),
            ("bonds", (len(self.bonds), 2), np.int64),
            ("group", (n,), np.int64),
            ("qm_atoms", (n_qm,), np.int64),
            ("core", (n_qm,), np.int64),
            ("positions", (n, 3), np.float64),
            ("velocities", (n, 3), np.float64),
            ("box", (3, 3), np.float64),
            ("links", (len(self.links), 2), np.int64),
            ("link_lengths", (len(self.links),), np.float64),
        ):
            self._store(name, shape, dtype)
        if not n_qm or self.qm_atoms[0] < 0 or self.qm_atoms[-1] >= n or np.any(np.diff(self.qm_atoms) <= 0):
            raise InputError(
                f"QM atoms between 0 and {n - 1}, ascending, were expected (got {self.qm_atoms.tolist()})", "qm_atoms"
            )
        if np.any((self.group < 0) != np.isin(np.arange(n), self.qm_atoms)):
            raise InputError("a charge group for each MM atom, and none for QM atoms, was expected", "group")
        if not np.array_equal(np.isin(self.links, self.qm_atoms), np.tile([True, False], (len(self.links), 1))):
            raise InputError(f"links from QM to MM atoms were expected (got {self.links.tolist()})", "links")

    def _store(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        value = getattr(self, name)
        if value is None:
            return
        array: Floats = np.array(value, dtype=dtype, order="C")
        if name in ("bonds", "links"):
            array = array.reshape(-1, 2)
        if array.shape != shape or not np.all(np.isfinite(array)):
            raise InputError(f"{name} must be finite and of shape {shape} (got shape {array.shape})", name)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    @property
    def n_atoms(self) -> int:
        """Number of sites, QM and MM."""
        return len(self.numbers)

    @property
    def n_qm(self) -> int:
        """Number of QM atoms."""
        return len(self.qm_atoms)

    @cached_property
    def boundary(self) -> Boundary:
        """Link atoms and redistributed charges: sites that follow the atoms in number."""
        return Boundary.of(self.links, self.link_lengths, self.bonds, self.charges, self.qm_atoms)

    @cached_property
    def region(self) -> Ints:
        """Indices of the QM atoms of a frame among all atoms and sites: the QM atoms, then the link atoms."""
        return np.concatenate([self.qm_atoms, self.n_atoms + np.arange(len(self.links))])

    @cached_property
    def groups(self) -> ChargeGroups:
        """MM sites by charge group."""
        group, bonded = self.boundary.groups(self.group)
        return ChargeGroups.of(group, self.boundary.charges(self.charges), bonded)

    @cached_property
    def _numbers(self) -> Ints:
        return self.boundary.numbers(self.numbers)

    @cached_property
    def _tree(self) -> list[tuple[Ints, Ints]]:
        return spanning_tree(self.n_atoms, self.bonds)

    @cached_property
    def _qm_molecule(self) -> Ints:
        """Molecule of each atom among those with QM atoms, counted from 0; -1 for all others (n,)."""
        found = molecules(self.n_atoms, self.bonds)
        number = np.full(int(found.max()) + 1, -1)
        number[found[self.qm_atoms]] = np.unique(found[self.qm_atoms], return_inverse=True)[1]
        return number[found]

    def replace(self, **changes: Any) -> Assembly:
        """A copy with `changes`, validated anew."""
        return dataclasses.replace(self, **changes)

    def point_charges(self, positions: Floats, box: Floats | None) -> PointCharges:
        """The QM region and its effective point charges, for positions (n, 3) whose molecules are whole (angstrom).

        Raises
        ------
        InputError
            The region has grown so large that the cutoff reaches beyond half the box.
        """
        sites = self.boundary.extend(self._together(positions, box))
        return point_charges(sites[self.region], sites, box, self.groups, self.cutoff, self.switch_width)

    def _together(self, positions: Floats, box: Floats | None) -> Floats:
        """Positions with the molecules of the QM region in the images that are nearest to the first."""
        if box is None or self._qm_molecule.max() == 0:
            return positions
        molecule = self._qm_molecule[self.qm_atoms]
        count = np.bincount(molecule)
        centres = np.stack([np.bincount(molecule, positions[self.qm_atoms, k]) / count for k in range(3)], axis=1)
        moved, inside = positions.copy(), self._qm_molecule >= 0
        moved[inside] += lattice_translation(centres - centres[0], box)[self._qm_molecule[inside]]
        return moved

    def atom_forces(self, charges: PointCharges, qm_forces: Floats, mm_forces: Floats, positions: Floats) -> Floats:
        """Forces on all atoms (n, 3), from those on the QM atoms and point charges of a frame; sites pass theirs on.

        Parameters
        ----------
        charges
            The point charges of the frame, from :meth:`point_charges` of `positions`.
        qm_forces, mm_forces
            (n_qm, 3) with those on link atoms, and (n_mm, 3), eV/angstrom.
        positions
            (n, 3), angstrom, molecules in one piece.
        """
        forces = np.zeros((len(self._numbers), 3))
        forces[self.region] = qm_forces
        forces[charges.sites] = mm_forces
        return self.boundary.project(forces, positions)

    def frame(
        self, positions: Floats | None = None, box: Floats | None = None, info: Mapping[str, Scalar] | None = None
    ) -> Frame:
        """The QM region in its effective point charges, with the centroid of the region as origin.

        Parameters
        ----------
        positions, box
            State (n, 3) and (3, 3), angstrom; by default that of the assembly. Atoms may be in any image.
        info
            What travels with the frame.
        """
        positions = self.positions if positions is None else positions
        box = self.box if box is None else box
        charges = self.point_charges(whole(positions, box, self._tree), box)
        return self.frame_of(charges, info)

    def frame_of(self, charges: PointCharges, info: Mapping[str, Scalar] | None = None) -> Frame:
        """The frame of a region and its point charges; link atoms come last, and its info counts them as `link_atoms`."""
        count: dict[str, Scalar] = {"link_atoms": len(self.links)} if len(self.links) else {}
        return Frame(
            numbers=self._numbers[self.region],
            positions=charges.qm_positions,
            charge=self.charge,
            spin=self.spin,
            core=np.pad(self.core, (0, len(self.links))),
            mm_numbers=self._numbers[charges.sites],
            mm_positions=charges.positions,
            mm_charges=charges.charges,
            info={**count, **(info or {})},
        )

    def write(self, path: str | Path) -> None:
        """Write HDF5, whole or not at all; equal assemblies give equal bytes."""
        with creating(Path(path)) as file:
            file.attrs["format"] = FORMAT
            for field in dataclasses.fields(self):
                value = getattr(self, field.name)
                if field.name.startswith("link") and not len(self.links):
                    continue
                if field.name == "system":
                    value = np.frombuffer(zlib.compress(value.encode(), 6), dtype=np.uint8)
                if isinstance(value, np.ndarray):
                    file.create_dataset(field.name, data=value, track_times=False)
                elif value is not None:
                    file.attrs[field.name] = value

    @classmethod
    def read(cls, path: str | Path) -> Assembly:
        """Read what :meth:`write` wrote.

        Raises
        ------
        InputError
            There is no such file.
        IntegrityError
            The file is no assembly, or damaged.
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: an assembly (HDF5) was expected (got no file): check the path")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise IntegrityError(f"{path}: an assembly of format {FORMAT} was expected: write it again")
                check_datasets(file, _LARGEST)
                values = {name: file[name][()] for name in file}
                values |= {name: file.attrs[name].item() for name in ("charge", "spin", "cutoff", "switch_width")}
            values["system"] = zlib.decompressobj().decompress(values["system"].tobytes(), _LARGEST).decode()
            return cls(**values)
        except (OSError, KeyError, TypeError, ValueError, zlib.error, InputError) as error:
            raise IntegrityError(f"{path}: a whole assembly was expected (got {error}): write it again") from error
