"""The template `peptide` from its campaign file to dynamics that a committee drives, by the commands on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cheap_campaign import CHEAP
from click.testing import CliRunner
from small_systems import TEMPLATES

from aiida_hqe.campaign.template import copy
from aiida_hqe.cli import main
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frames
from aiida_hqe.qmmm.assembly import Assembly
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.qmmm.setup import build

SYSTEM = """
system:
  topology: peptide.pdb
  forcefield: [amber14/protein.ff14SB.xml, amber14/tip3p.xml]
  solvate: {model: tip3p, box: 20 angstrom}
  qm: {atoms: [10, 11, 12, 13, 14]}
  cores: [{atoms: [13, 14]}]
  charge: 0
  cutoff: 6 angstrom
sampling: {equilibration_steps: 100, steps: STEPS, interval: 10, nonbonded_cutoff: 8 angstrom, friction: 10 1/ps}
"""

LEVEL = """
environment: {xc: hf, basis: sto-3g, grid_level: 0}
core: {method: mp2}
embedding: {core_orbitals: [5]}
"""

TRAINING = """
potential: {features: 8, interactions: 1, radial_functions: 8, cutoff: 3 angstrom}
training: {members: 2, epochs: 30, target_epochs: 2, held_out: 0.3}
confidence: 0.6
"""


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_part_of_a_peptide_goes_from_template_to_committee_driven_dynamics(tmp_path: Path) -> None:
    copy("peptide", tmp_path)
    assert "5 of them QM (and link atoms: 1)" in run("check", tmp_path / "campaign.yaml")
    assert "link atom" in run("plan", tmp_path / "campaign.yaml")
    (tmp_path / "level.yaml").write_text(LEVEL)
    (tmp_path / "training.yaml").write_text(TRAINING)
    (tmp_path / "long.yaml").write_text(SYSTEM.replace("STEPS", "100"))
    (tmp_path / "short.yaml").write_text(SYSTEM.replace("STEPS", "10"))
    run("sample", tmp_path / "long.yaml", "-o", tmp_path / "ff.xyz", "--final", tmp_path / "ready.h5")
    run("label", tmp_path / "ff.xyz", "--level", tmp_path / "level.yaml", "-o", tmp_path / "labelled.h5")
    labelled = Frames.read(tmp_path / "labelled.h5")
    assert all(frame.energy is not None and frame.n_qm == 6 and frame.info["link_atoms"] == 1 for frame in labelled)
    committee = tmp_path / "committee.safetensors"
    run("train", tmp_path / "labelled.h5", "-o", committee, "--settings", tmp_path / "training.yaml")
    run(
        *("sample", tmp_path / "short.yaml", committee, "--start", tmp_path / "ready.h5"),
        *("-o", tmp_path / "driven.xyz", "--final", tmp_path / "end.h5"),
    )
    (driven,) = Frames.read(tmp_path / "driven.xyz")
    assert driven.info["disagreement"] > 0
    assert np.linalg.norm(driven.positions[5] - driven.positions[0]) == pytest.approx(1.09, abs=1e-9)
    np.testing.assert_array_equal(Assembly.read(tmp_path / "end.h5").links, [[10, 8]])


def test_a_peptide_bond_with_a_link_atom_beside_it_can_be_a_quantum_core(tmp_path: Path) -> None:
    """The bond CA - C is cut: N-methylformamide in the charges of the rest, its peptide bond the core."""
    copy("peptide", tmp_path)
    settings = SystemSettings(
        topology="peptide.pdb",
        forcefield=["amber14/protein.ff14SB.xml"],
        qm={"atoms": list(range(15, 23))},
        cores=[{"atoms": [15, 16, 17, 18]}],
        charge=0,
        cutoff="12 angstrom",
    )
    frame = build(settings, tmp_path).frame()
    np.testing.assert_array_equal(frame.numbers, [6, 8, 7, 1, 6, 1, 1, 1, 1])
    level = {
        "environment": {"xc": "hf", "basis": "sto-3g", "grid_level": 0},
        "core": {"method": "mp2"},
        "embedding": {"core_orbitals": [12]},
    }
    found = label(frame, Level.model_validate(level))
    assert found.status == "ok", found.message
    assert found.cores[0].gap > 0.5
    assert found.environment_mm_forces is not None
    total = np.sum(found.environment_forces, axis=0) + np.sum(found.environment_mm_forces, axis=0)
    np.testing.assert_allclose(total, 0.0, rtol=0, atol=1e-4)  # eV/angstrom


@pytest.mark.slow
def test_a_campaign_on_part_of_a_peptide_keeps_the_link_atom_in_every_label(hqe_code: Any) -> None:
    from aiida.engine import run_get_node

    from aiida_hqe.workchains.campaign import CampaignWorkChain

    system = yaml.safe_load(SYSTEM)["system"]
    cheap = CHEAP | {"stop": {"iterations": 1, "uncertain_fraction": 0.01}}
    outputs, node = run_get_node(
        CampaignWorkChain.get_builder_from_protocol(hqe_code, system, TEMPLATES / "peptide", "fast", cheap)
    )
    assert node.is_finished_ok, node.exit_message
    labels = outputs["labels"].frames
    assert len(labels) >= 10
    for frame in labels:
        assert frame.info["link_atoms"] == 1
        np.testing.assert_array_equal(frame.numbers, [6, 1, 1, 8, 1, 1])
        assert np.linalg.norm(frame.positions[5] - frame.positions[0]) == pytest.approx(1.09, abs=1e-9)
        assert frame.environment_mm_forces is not None
