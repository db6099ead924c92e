"""The example for other programs runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from small_systems import WATER

from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "use_a_committee.py"


@pytest.mark.parametrize("charged", [True, False])
def test_relaxation_in_ase_goes_downhill_without_a_net_force(charged: bool, tmp_path: Path) -> None:
    settings = PotentialSettings(features=8, interactions=1, radial_functions=8, cutoff="4 angstrom")
    states = [build(settings, 0, seed=number).state_dict() for number in range(2)]
    networks = [Network(state, {1: -10.0, 8: -2000.0}, True) for state in states]
    members = [Member(number, 1, {"environment": network}) for number, network in enumerate(networks)]
    committee = Committee(members, settings=settings, learn="direct", elements=[1, 8], charge=0, spin=0)
    committee.save(tmp_path / "c.safetensors")
    Atoms("OH2", WATER).write(tmp_path / "water.xyz")
    np.savetxt(tmp_path / "charges.txt", [[4.0, 0.0, 0.5, -0.4], [-4.0, 0.0, 0.5, 0.4]])
    arguments = ["c.safetensors", "water.xyz", *(["charges.txt"] if charged else [])]
    command, environment = [sys.executable, str(EXAMPLE), *arguments], os.environ | {"OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    before, after, net = (
        float(re.search(rf"{name} (\S+)", printed)[1]) for name in ("energy before", "energy after", "net force")
    )
    assert after < before
    assert net < 1e-10
    assert "2 members for elements [1, 8], learned: environment" in printed
