"""``init``, ``check`` and ``plan`` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import run

from aiida_hqe.campaign.schema import Campaign


@pytest.mark.parametrize("template", ["methanol-water", "peptide", "peptide-water"])
def test_a_new_campaign_is_in_order_and_can_be_planned(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "new"
    assert run("init", folder, "--template", template).exit_code == 0
    checked = run("check", folder / "campaign.yaml")
    assert checked.exit_code == 0, checked.stderr
    assert "in order" in checked.stdout
    planned = run("plan", folder / "campaign.yaml")
    assert planned.exit_code == 0, planned.stderr
    assert "basis functions" in planned.stdout
    assert "estimated" in planned.stdout
    assert "AiiDA profile" in planned.stdout


def test_init_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "methanol.pdb").write_text("mine")
    result = run("init", tmp_path)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "methanol.pdb").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["methanol.pdb"]


def test_check_prints_every_setting_as_json(tmp_path: Path) -> None:
    run("init", tmp_path / "new")
    result = run("check", tmp_path / "new" / "campaign.yaml", "--json")
    summary = json.loads(result.stdout)
    campaign = Campaign.model_validate(summary["campaign"])
    assert campaign.training.members == 4
    assert (summary["qm_atoms"], summary["cores"]) == (6, 1)
    assert sorted(summary["files"]) == ["methanol.pdb", "methanol.xml"]


def test_a_measured_plan_labels_once(tmp_path: Path) -> None:
    run("init", tmp_path / "new")
    path = tmp_path / "new" / "campaign.yaml"
    cheap = path.read_text().replace("basis: def2-svp", "basis: sto-3g, grid_level: 0")
    path.write_text(cheap.replace("ccsd(t)}", "hf, frozen_core: false}"))
    plan = json.loads(run("plan", path, "--measure", "--json").stdout)
    assert plan["label_seconds_kind"] == "measured"
    assert plan["label_seconds"] > 0
    assert plan["basis_functions"] == 14
