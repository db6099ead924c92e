"""A committee from a file in ASE: relax a molecule in point charges, and ask how far the members agree about the result.

    python use_a_committee.py COMMITTEE.safetensors MOLECULE.xyz [CHARGES.txt]

CHARGES.txt has a line for each point charge: x y z in angstrom, charge in e. What is printed is in eV and angstrom.
"""

from __future__ import annotations

import sys

import ase.io
import numpy as np
from ase.optimize import BFGS

from aiida_hqe.potentials.calculator import CommitteeCalculator
from aiida_hqe.potentials.committee import Committee

committee = Committee.load(sys.argv[1])
atoms = ase.io.read(sys.argv[2])
charges = np.loadtxt(sys.argv[3], ndmin=2) if len(sys.argv) > 3 else np.zeros((0, 4))
atoms.calc = CommitteeCalculator(committee, charges[:, :3], charges[:, 3])

print(
    f"{committee.n_members} members for elements {committee.elements}, learned: {', '.join(sorted(committee.levels))}"
)
print(f"energy before {atoms.get_potential_energy():.6f}")
BFGS(atoms, logfile=None, maxstep=0.05).run(fmax=0.02, steps=50)
found = atoms.calc.results
print(f"energy after {found['energy']:.6f}")
print(f"force left {np.abs(found['forces']).max():.4f}")
print(f"net force {np.abs(found['forces'].sum(axis=0) + found['mm_forces'].sum(axis=0)).max():.1e}")
print(f"disagreement {found['disagreement']:.4f}, most on atom {int(np.argmax(found['atom_disagreement']))}")
