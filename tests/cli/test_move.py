"""A campaign moved to another profile gives the same answers, and the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from campaign_graph import Graph
from click.testing import CliRunner

from aiida_hqe import queries
from aiida_hqe.audit import audit
from aiida_hqe.cli import main
from aiida_hqe.data.groups import keys
from aiida_hqe.report import lineage

THERE = """
import json, sys
from pathlib import Path
from aiida_hqe.cli import profile
profile.enter(Path(sys.argv[1]))
profile.open_profile()
from click.testing import CliRunner
from aiida_hqe.cli import main
result = CliRunner().invoke(main, ["import", sys.argv[2]])
assert result.exit_code == 0, result.output
sys.path.insert(0, sys.argv[3])
from test_move import answers
from aiida_hqe import queries
[pk] = queries.campaigns()
print(json.dumps(answers(queries.campaign(pk))))
"""


def answers(campaign: Any) -> dict[str, Any]:
    """What is asked of a campaign, without the pks, which belong to a profile."""
    pk, outputs = campaign.pk, campaign.outputs
    own = {"pk", "created", "modified", "campaign", "sampled_by", "selected_by", "expected_by", "labelled_by"}

    def plain(entry: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in entry.items() if key not in own}

    content = {name: keys(outputs[name]) for name in ("labels", "held_out", "committee")}
    found = {
        "state": plain(queries.state(pk).as_dict()),
        "lineage": [plain(entry) for entry in lineage.lineage(pk)],
        "failures": lineage.failures(pk),
        "costs": {str(number): cost for number, cost in queries.round_costs(pk).items()},
        "reused": queries.reused_labels(pk),
        "sha256": content,
        "faults": [str(fault) for fault in audit(campaign)],
    }
    return dict(json.loads(json.dumps(found)))


def test_an_imported_campaign_gives_the_same_answers_and_the_same_bytes(graph: Graph, tmp_path: Path) -> None:
    archive = tmp_path / "campaign.aiida"
    result = CliRunner().invoke(main, ["export", "archive", str(graph.campaign.pk), "-o", str(archive)])
    assert result.exit_code == 0, result.output
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        THERE,
        str(tmp_path / "there"),
        str(archive),
        str(Path(__file__).parent),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    there = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert there.returncode == 0, there.stderr
    found, expected = json.loads(there.stdout.splitlines()[-1]), answers(graph.campaign)
    assert found == expected
    assert found["faults"] == []
    assert len(found["lineage"]) == 8
