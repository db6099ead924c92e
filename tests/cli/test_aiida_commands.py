"""Commands on campaigns: what they print, and that bad input ends with exit code 2 and one line."""

from __future__ import annotations

import gc
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.manage import get_manager
from campaign_graph import DOCUMENT, Builder, Graph, committee_file, labelled, water
from commands import printed, refused, run
from small_systems import TEMPLATE

from aiida_hqe import queries
from aiida_hqe.audit import Audit
from aiida_hqe.calculations.label import level_key
from aiida_hqe.campaign.check import check
from aiida_hqe.data.frames import FramesData
from aiida_hqe.data.groups import keys
from aiida_hqe.frames import Frames
from aiida_hqe.volume import volume
from aiida_hqe.workchains.submission import folder

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "submit_with_verdi_run.py"


def test_garbage_is_collected_as_before_once_a_command_has_ended(graph: Graph) -> None:
    before = gc.get_threshold()
    printed("status", graph.campaign.pk)
    refused("status", 999999999)
    assert gc.get_threshold() == before


def test_why_tells_committee_bound_threshold_and_cost(graph: Graph) -> None:
    text = printed("why", graph.flagged[0].hash[:16])
    for words in (
        graph.committee.uuid,
        "80.0 meV/angstrom, threshold 50.0",
        "160.0 meV/angstrom",
        "2.0 s",
        "rank          1",
    ):
        assert words in text
    item = json.loads(printed("why", graph.flagged[0].hash[:16], "--json"))
    assert item["committee"] == graph.committee.uuid
    assert item["labelled_by"] == graph.label_jobs[1].pk


def test_why_holds_the_force_vectors_of_the_members_and_names_the_atoms_that_they_disagree_about(graph: Graph) -> None:
    item = json.loads(printed("why", graph.flagged[0].hash[:16], "--json"))
    forces = np.array(item["member_forces"])
    assert forces.shape == (4, 3, 3)
    assert np.array(item["member_mm_forces"]).shape == (4, 2, 3)
    spread = forces[:, 0, 0].std(ddof=1)
    assert item["atoms"] == pytest.approx([spread, 0.0, 0.0])
    assert f"atoms         0 ({1000 * spread:.1f})" in printed("why", graph.flagged[0].hash[:16])
    assert json.loads(printed("why", f"{graph.campaign.pk}:0", "--json"))["member_forces"] is None


def test_why_by_number_and_of_the_first_set(graph: Graph) -> None:
    text = printed("why", f"{graph.campaign.pk}:0")
    assert graph.first[0].hash in text
    assert "first set" in text
    assert "none yet" in text


def test_the_report_is_written(graph: Graph, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert printed("report", graph.campaign.pk, "-o", target).strip() == str(target)
    page = target.read_text(encoding="utf-8")
    assert graph.campaign.uuid in page
    assert graph.flagged[0].hash in page


def test_frames_and_committee_come_out_and_in_again(graph: Graph, tmp_path: Path) -> None:
    target = tmp_path / "labels.h5"
    assert "8 frames" in printed("export", "frames", graph.campaign.pk, "-o", target)
    assert Frames.read(target) == graph.campaign.outputs.labels.frames
    node = json.loads(printed("import", target, "--json"))
    assert orm.load_node(node["uuid"]).n_labelled == 8
    target = tmp_path / "committee.safetensors"
    assert "4 members" in printed("export", "committee", graph.campaign.pk, "-o", target)
    assert target.read_bytes() == committee_file(tmp_path).read_bytes()


def test_an_archive_holds_the_whole_campaign(graph: Graph, tmp_path: Path) -> None:
    target = tmp_path / "campaign.aiida"
    printed("export", "archive", graph.campaign.pk, "-o", target)
    assert target.stat().st_size > 1000
    assert "imported" in printed("import", target)


def test_the_audit_of_a_sound_campaign_ends_with_exit_code_0(graph: Graph) -> None:
    assert "no faults" in printed("audit", graph.campaign.pk)
    found = json.loads(printed("audit", graph.campaign.pk, "--json"))
    assert found["sound"]
    assert found["faults"] == []


def test_an_audit_says_what_each_label_takes_and_counts_a_file_that_nodes_share_once(graph: Graph) -> None:
    line = printed("audit", graph.campaign.pk).splitlines()[-1]
    item = json.loads(printed("audit", graph.campaign.pk, "--json"))
    assert f"{item['bytes_per_label']} bytes in files for each of 8 labels" in line
    found = volume(Audit(graph.campaign))
    assert found is not None
    arrays = 8 * (3 + 9 + 3 + 2 + 6 + 2) + 8 * (9 + 6) + 16  # whole numbers, positions and charges; forces; energies
    assert found.raw == arrays
    files = {key for node in Audit(graph.campaign).data.values() for key in keys(node).values()}
    files |= {key for node in Audit(graph.campaign).processes.values() for key in keys(node).values()}
    repository = get_manager().get_profile_storage().get_repository()
    assert sum(found.kinds.values()) == sum(len(repository.get_object_content(key)) for key in files)
    assert found.kinds["sets"] < found.kinds["labelled"] / 5


def test_an_audit_prints_a_line_for_each_fault_and_ends_with_exit_code_1(tmp_path: Path, hqe_code: Any) -> None:
    builder = Builder(tmp_path, hqe_code.computer, DOCUMENT)
    loose = [orm.Dict({"from": "nowhere"}).store() for _ in range(2)]
    builder.job("predict", builder.campaign, "held_out", one=loose[0], other=loose[1])
    result = run("audit", builder.campaign.pk)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["creator", "creator"]
    assert "2 faults" in lines[-1]
    result = run("audit", builder.campaign.pk, "--json")
    assert (result.exit_code, len(json.loads(result.output)["faults"])) == (1, 2)


@pytest.mark.parametrize(
    "command", [["status"], ["watch"], ["audit"], ["report"], ["stop"], ["export", "frames"], ["export", "archive"]]
)
def test_an_unknown_campaign_is_bad_input(hqe_code: Any, command: list[str]) -> None:
    assert "pk or uuid of a campaign was expected (got '987654')" in refused(*command, 987654)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["why", "ffffffffffff"], "no campaign here labelled"),
        (["why", "987654:0"], "pk or uuid of a campaign was expected"),
        (["extend", "987654", "--iterations", "1"], "pk or uuid of a campaign was expected"),
        (["import", "nowhere.xyz"], "a file was expected (got none)"),
        (["status", "99999999999999999999999"], "the pk or uuid of a campaign was expected"),
        (["report", "1", "-o", "report.pdf"], "a file name that ends in .html or .htm was expected"),
        (["extend", "1", "--iterations", "1", "-p", "nosuch"], "profile `nosuch` does not exist"),
        (["submit", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line(graph: Graph, hqe_code: Any, arguments: list[str], words: str) -> None:
    extra = ["--code", hqe_code.uuid] if arguments[0] == "submit" else []
    assert words in refused(*arguments, *extra)


def test_an_index_beyond_the_labels_is_bad_input(graph: Graph) -> None:
    assert "below 8" in refused("why", f"{graph.campaign.pk}:8")


def test_a_campaign_that_ended_cannot_be_stopped(graph: Graph) -> None:
    assert "a running campaign was expected" in refused("stop", graph.campaign.pk)


def test_a_running_campaign_is_asked_to_stop_through_an_extra(hqe_code: Any) -> None:
    from aiida_hqe.queries import CAMPAIGN

    node = orm.WorkChainNode(process_type=CAMPAIGN).store()
    assert "ends at its next step" in printed("stop", node.pk)
    assert node.base.extras.get("hqe_stop") is True


def test_a_campaign_without_outputs_has_nothing_to_export(hqe_code: Any, tmp_path: Path) -> None:
    from aiida_hqe.queries import CAMPAIGN

    node = orm.WorkChainNode(process_type=CAMPAIGN)
    node.base.attributes.set("process_state", "running")
    node.store()
    assert "has no labels yet" in refused("export", "frames", node.pk, "-o", tmp_path / "x.xyz")


def test_export_overwrites_nothing_unasked(graph: Graph, tmp_path: Path) -> None:
    target = tmp_path / "labels.xyz"
    target.write_text("precious")
    assert "--force" in refused("export", "frames", graph.campaign.pk, "-o", target)
    assert target.read_text() == "precious"
    printed("export", "frames", graph.campaign.pk, "-o", target, "--force")
    assert "ends in" in refused("export", "frames", graph.campaign.pk, "-o", tmp_path / "labels.pdb")


def test_import_names_the_suffixes_it_knows(hqe_code: Any, tmp_path: Path) -> None:
    (tmp_path / "frames.pdb").write_text("x")
    assert ".safetensors" in refused("import", tmp_path / "frames.pdb")
    (tmp_path / "broken.aiida").write_text("x")
    assert "an AiiDA archive was expected" in refused("import", tmp_path / "broken.aiida")


def test_submit_without_the_code_says_how_to_make_it(hqe_code: Any, tmp_path: Path) -> None:
    message = refused("submit", tmp_path / "campaign.yaml", "--code", "no-such-code")
    assert "verdi code create core.code.installed" in message


def test_the_report_cannot_be_written_into_a_folder_that_is_not_there(graph: Graph, tmp_path: Path) -> None:
    assert "a place to write was expected" in refused(
        "report", graph.campaign.pk, "-o", tmp_path / "nowhere" / "page.html"
    )


def test_the_example_for_verdi_run_refuses_what_submit_refuses(
    hqe_code: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    assert example["main"]([]) == 2
    assert example["main"]([str(tmp_path / "nowhere.yaml"), hqe_code.uuid]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_the_example_for_verdi_run_builds_the_campaign_of_the_template(hqe_code: Any) -> None:
    example = runpy.run_path(str(EXAMPLE))
    builder = example["protocol_builder"](hqe_code, TEMPLATE)
    document = builder.campaign.get_dict()
    assert document["protocol"] == "fast"
    assert document["levels"]["embedding"]["core_orbitals"] == [5]
    assert builder.files.base.repository.list_object_names() == ["methanol.pdb", "methanol.xml"]


def test_submitting_where_no_daemon_runs_stores_nothing(hqe_code: Any) -> None:
    from aiida_hqe.queries import campaigns

    before = campaigns()
    line = refused("submit", TEMPLATE / "campaign.yaml", "--code", hqe_code.uuid, code=1)
    assert "broker" in line or "daemon" in line
    assert campaigns() == before


def test_a_plan_names_the_labels_of_an_equal_campaign_and_of_no_other(tmp_path: Path, graph: Graph) -> None:
    file = shutil.copytree(TEMPLATE, tmp_path / "campaign") / "campaign.yaml"
    profile = orm.User.collection.backend.profile.name

    def reused() -> str:
        return json.loads(printed("plan", file, "-p", profile, "--json"))["caching"]

    assert "holds no label of this level" in reused()
    checked = check(file)
    labels = FramesData.from_frames(Frames([labelled(water(90)), labelled(water(91))]))
    labels.base.attributes.set("level", level_key(checked.campaign.levels))
    labels.store()
    assert "of the 2 labels of this level" in reused()
    earlier = orm.WorkChainNode(process_type=queries.CAMPAIGN)
    document = orm.Dict(checked.campaign.model_dump(mode="json") | {"name": "earlier"}).store()
    files = folder(checked.campaign, checked.directory).store()
    earlier.base.links.add_incoming(document, LinkType.INPUT_WORK, "campaign")
    earlier.base.links.add_incoming(files, LinkType.INPUT_WORK, "files")
    earlier.store()
    assert reused() == f"0 labels, those of the equal campaign {earlier.pk} in profile {profile!r}"
    file.write_text(file.read_text().replace("seed: 2026", "seed: 2027"))
    assert "of the 2 labels of this level" in reused()
    assert "not looked up" in json.loads(printed("plan", file, "--json"))["caching"]
