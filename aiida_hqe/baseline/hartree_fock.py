"""Hartree-Fock in the minimal basis STO-3G, in point charges, by PySCF: a baseline that needs no further package."""

from __future__ import annotations

import numpy as np
from pyscf import df, gto, qmmm, scf

from aiida_hqe.baseline.baseline import Baseline
from aiida_hqe.errors import ConvergenceError, InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.units import BOHR, HARTREE, HARTREE_PER_BOHR


def minimal(frame: Frame) -> Baseline:
    """Energy, forces and the potential at the charges; unrestricted where electrons are unpaired.

    Raises
    ------
    InputError
        STO-3G lacks an element.
    ConvergenceError
        The self-consistent field did not converge.
    """
    molecule = _molecule(frame)
    field = scf.RHF(molecule) if frame.spin == 0 else scf.UHF(molecule)
    field.conv_tol = 1e-10
    if frame.n_mm:
        field = qmmm.mm_charge(field, frame.mm_positions / BOHR, frame.mm_charges, unit="Bohr")
    field.kernel()
    if not field.converged:
        raise ConvergenceError(
            f"Hartree-Fock in the minimal basis was expected to converge (frame {frame.hash[:12]} did not): check the"
            " geometry, or choose another baseline"
        )
    gradient, density = field.nuc_grad_method(), field.make_rdm1()
    total = density if density.ndim == 2 else density.sum(axis=0)
    gradient.verbose = 0
    forces, mm_forces = -gradient.kernel(), np.zeros((0, 3))
    if frame.n_mm:
        mm_forces = -(gradient.grad_hcore_mm(total) + gradient.grad_nuc_mm())
    return Baseline(
        energy=float(field.e_tot) * HARTREE,
        forces=forces * HARTREE_PER_BOHR,
        mm_forces=mm_forces * HARTREE_PER_BOHR,
        charge_gradient=_potential(molecule, total, frame.mm_positions / BOHR) * HARTREE,
    )


def _molecule(frame: Frame) -> gto.Mole:
    atoms = list(zip(frame.numbers.tolist(), frame.positions.tolist(), strict=True))
    try:
        return gto.M(atom=atoms, basis="sto-3g", charge=frame.charge, spin=frame.spin, verbose=0)
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"elements that STO-3G has were expected (frame {frame.hash[:12]} has {sorted(set(frame.numbers.tolist()))}):"
            " choose the baseline gfn2-xtb",
            "potential.baseline",
        ) from error


def _potential(molecule: gto.Mole, density: Floats, places: Floats) -> Floats:
    """Potential (n,) in hartree/e of electrons and nuclei at places (n, 3) in bohr."""
    if not len(places):
        return np.zeros(0)
    points = gto.fakemol_for_charges(places)
    electrons = np.einsum("ijp,ij->p", df.incore.aux_e2(molecule, points), density)
    distances = np.linalg.norm(places[:, None] - molecule.atom_coords(), axis=-1)
    potential: Floats = (molecule.atom_charges() / distances).sum(axis=1) - electrons
    return potential
