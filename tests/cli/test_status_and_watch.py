"""``status`` and ``watch``: how far a campaign is, what holds it up, and how it ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from campaign_graph import DOCUMENT, Builder, Graph
from commands import printed, refused, run

from aiida_hqe import pauses, queries
from aiida_hqe.cli import services
from aiida_hqe.cli.watch import Progress, stage


def test_status_is_a_line_and_a_table(graph: Graph) -> None:
    lines = printed("status", graph.campaign.pk).splitlines()
    assert lines[0] == f"campaign {graph.campaign.pk} (small): finished"
    assert lines[1].split()[:3] == ["round", "sampled", "uncertain"]
    assert lines[3].split()[0] == "0"
    assert "200.0 +- 10.0" in lines[3]
    assert lines[-1] == "verdict: not converged"


def test_status_as_json_holds_the_rounds(graph: Graph) -> None:
    state = json.loads(printed("status", graph.campaign.uuid, "--json"))
    assert state["pk"] == graph.campaign.pk
    assert state["rounds"][1]["failed"] == 1


def test_status_names_what_aiida_has_paused_and_what_puts_that_right(tmp_path: Path, hqe_code: Any) -> None:
    builder = Builder(tmp_path, hqe_code.computer, DOCUMENT)
    other = Builder(tmp_path, hqe_code.computer, DOCUMENT)
    jobs = [
        made.job("label", made.work("label", "label_00"), "batch_00") for made in (builder, builder, builder, other)
    ]
    for job in (*jobs[:2], jobs[3]):
        job.pause()
        job.set_process_status("Pausing after failed transport task: upload_calculation failed 5 times consecutively")
    jobs[0].base.attributes.set("process_state", "waiting")
    jobs[3].base.attributes.set("process_state", "waiting")
    lines = printed("status", builder.campaign.pk).splitlines()
    said = f"paused: hqe.label <{jobs[0].pk}>: Pausing after failed transport task: upload_calculation failed 5 times"
    assert [line for line in lines if "paused" in line] == [lines[1]]
    assert lines[1] == f"{said} consecutively; mend the cause, then `verdi process play {jobs[0].pk}`"
    found = json.loads(printed("status", builder.campaign.pk, "--json"))["paused"]
    assert [process["pk"] for process in found] == [jobs[0].pk]


def test_status_says_why_nothing_works_on_a_campaign_that_has_not_ended(
    graph: Graph, tmp_path: Path, hqe_code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = services.Finding("daemon", "missing", "it does not run", "verdi daemon start")
    monkeypatch.setattr(services, "obstacles", lambda _: [found])
    running = Builder(tmp_path, hqe_code.computer, DOCUMENT).campaign
    lines = printed("status", running.pk).splitlines()
    assert lines[1] == "nothing works on it: daemon: it does not run; run `verdi daemon start`"
    assert "nothing works" not in printed("status", graph.campaign.pk)


def test_watching_tells_of_a_paused_process_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for process in (3, 3, 4):
        progress.note(pauses.Paused(process, "hqe.label", "no connection").remedy)
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["<3>:", "<4>:"]


def test_watching_an_ended_campaign_shows_its_table_at_once(graph: Graph) -> None:
    assert "verdict: not converged" in printed("watch", graph.campaign.pk)


def process(state: str, **attributes: Any) -> orm.WorkChainNode:
    """A campaign that is a process in some state and nothing else."""
    node = orm.WorkChainNode(process_type=queries.CAMPAIGN)
    node.base.attributes.set_many({"process_state": state, **attributes})
    return node.store()


def test_watching_ends_with_one_line_when_the_daemon_is_gone(hqe_code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiida_hqe.cli.watch._GRACE", 0.0)
    monkeypatch.setattr("aiida_hqe.cli.watch.POLL", 0.01)
    node = process("waiting")
    result = run("watch", node.pk)
    assert result.exit_code == 1
    line = result.stderr.strip()
    assert "\n" not in line
    assert f"the daemon stopped while campaign {node.pk} was running" in line
    assert line.endswith(".log")


@pytest.mark.parametrize(
    ("state", "attributes", "words"),
    [
        (
            "finished",
            {"exit_status": 403, "exit_message": "training failed in round 1"},
            "exit code 403: training failed",
        ),
        ("excepted", {"exception": "ValueError: broken\nsecond line"}, "excepted: ValueError: broken second line"),
        ("killed", {}, "killed"),
    ],
)
def test_a_campaign_that_failed_ends_watching_with_exit_code_1(
    hqe_code: Any, state: str, attributes: dict[str, Any], words: str
) -> None:
    node = process(state, **attributes)
    line = refused("watch", node.pk, code=1)
    assert words in line
    assert f"verdi process report {node.pk}" in line


def test_progress_prints_plain_lines_where_there_is_no_terminal(
    hqe_code: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from aiida_hqe import queries

    node = process("waiting")
    node.base.extras.set_many({"hqe_stage": "labelling", "hqe_round": 2, "hqe_done": 0, "hqe_total": 12})
    progress = Progress()
    for done in (0, 3, 4):
        progress.show(queries.state(node.pk), queries.Counts(done, 12))
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("round 2: labelling 0/12")
    assert "\x1b" not in lines[0]


@pytest.mark.parametrize(
    ("done", "seconds", "words"),
    [
        (0, 60, "labelling 0/12"),
        (11, 330, "about 30 s left"),
        (4, 300, "about 10 min left"),
        (1, 3600, "about 11 h left"),
    ],
)
def test_the_time_left_is_told_as_soon_as_something_is_done(
    hqe_code: Any, done: int, seconds: float, words: str
) -> None:
    node = process("waiting")
    node.base.extras.set_many({"hqe_stage": "labelling", "hqe_round": 2, "hqe_total": 12})
    running = queries.Counts(done, 12, datetime.now(UTC) - timedelta(seconds=seconds))
    assert stage(queries.state(node.pk), running).endswith(words)
