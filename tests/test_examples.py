"""Every example runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from aiida_hqe.campaign import document
from aiida_hqe.embedding.level import Level

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, directory: Path) -> str:
    """Output of an example that ran in `directory`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(EXAMPLES / name)]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_force_on_a_charge_is_the_derivative_of_the_environment_energy(tmp_path: Path) -> None:
    printed = run("label_and_follow_a_force.py", tmp_path)
    analytic, numerical = (float(re.search(rf"{word} (-?[\d.]+)", printed)[1]) for word in ("analytic", "numerical"))
    assert abs(analytic) > 0.1
    assert abs(analytic - numerical) < 5e-5


def test_the_level_file_is_a_level() -> None:
    level = document.read(EXAMPLES / "level.yaml", Level)
    assert level.core.method == "ccsd(t)"
    assert level.embedding.core_orbitals == [5]
