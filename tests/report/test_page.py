"""The page of a campaign says what the record says, and needs nothing but itself."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re

import pytest
from sample_record import sample_record

from aiida_hqe.report.figures import figures
from aiida_hqe.report.page import NOTHING, SECTIONS, render
from aiida_hqe.report.record import CampaignRecord


class Outline(html.parser.HTMLParser):
    """Tags, ids and text of headings of a page; fails where elements are not closed in order."""

    VOID = frozenset({"meta", "br", "input", "link", "hr", "img", "option"})

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        attributes = dict(attrs)
        if "svg" not in self.stack and attributes.get("id"):
            self.ids.append(str(attributes["id"]))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.stack.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.stack == []
    return parser


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample_record())


def lineage_data(page: str) -> dict:
    return json.loads(re.search(r'id="lineage-data">(.*?)</script>', page, re.DOTALL)[1])


def bare(record: CampaignRecord) -> CampaignRecord:
    """The record without the data of its figures, which take time to draw."""
    return dataclasses.replace(record, learning_curve=[], parity=None, calibration=None, selections=[], costs=[])


def test_every_section_has_its_heading_and_its_link(page: str) -> None:
    for number, name in enumerate(SECTIONS, start=1):
        assert re.search(rf'<h2 id="section-{number}">.*{name}</h2>', page)
        assert f'href="#section-{number}"' in page
    assert len(set(outline(page).ids)) == len(outline(page).ids)


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert not re.findall(r"<(?:link|img|iframe|object|embed)\b|@import|\bfetch\(|XMLHttpRequest|\burl\((?!#)", page)
    references = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)


def test_on_a_narrow_screen_wide_tables_and_figures_scroll_and_not_the_page(page: str) -> None:
    assert page.count('<div class="wide"><svg') == outline(page).counts["svg"]
    wide = re.findall(r'(<div class="wide">)?<table[^>]*>\s*<thead><tr><th>(?:round|frame)</th>', page)
    assert wide == 3 * ['<div class="wide">']
    assert ".wide { overflow-x: auto; }" in page


def test_times_are_told_with_their_zone(page: str) -> None:
    assert re.search(r"\d\d:\d\d:\d\d UTC\.", page)


def test_every_figure_is_drawn_inline_with_units(page: str) -> None:
    assert outline(page).counts["svg"] == 6
    for label in (
        "force error (meV/Å)",
        "label (eV/Å)",
        "calibrated bound (meV/Å)",
        "coverage (%)",
        "axis 1 (40%",
        "core seconds",
    ):
        assert label in page


def test_the_same_record_gives_the_same_bytes(record: CampaignRecord, page: str) -> None:
    assert render(record) == page


def test_numbers_of_the_rounds_stand_in_the_table(page: str) -> None:
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[1][8] == "170.0 ± 20.0"
    assert rows[0][11] == NOTHING


def test_the_lineage_of_every_labelled_frame_can_be_looked_up(record: CampaignRecord, page: str) -> None:
    assert lineage_data(page) == {item["frame"]: item for item in record.lineage}


def test_text_of_a_failure_cannot_become_markup(record: CampaignRecord, page: str) -> None:
    assert "SCF did not converge after 3 rungs &lt;&amp;&gt;" in page
    evil = [{**record.lineage[0], "reason": "</script><script>alert(1)</script>"}]
    attacked = render(dataclasses.replace(bare(record), lineage=evil, name="<b>"))
    assert "<script>alert" not in attacked
    assert "<b>" not in attacked
    assert lineage_data(attacked)[evil[0]["frame"]] == evil[0]


def test_a_campaign_without_failures_says_so(record: CampaignRecord) -> None:
    assert "no failure" in render(dataclasses.replace(bare(record), failures=[]))


def test_a_campaign_that_ended_at_once_still_has_a_page() -> None:
    empty = CampaignRecord(
        pk=1, uuid="0" * 36, name="early", created="", finished="", seconds=3.0, process_state="excepted", exit_status=None,
        verdict={"converged": False, "reason": "excepted"}, campaign={}, rounds=[],
    )  # fmt: skip
    page = render(empty)
    outline(page)
    assert page.count("No data") == 6
    assert "svg" not in outline(page).counts


@pytest.mark.parametrize(
    ("state", "status", "converged", "headline"),
    [
        ("waiting", None, False, "Still running"),
        ("excepted", None, False, "Failed"),
        ("finished", 403, False, "Failed"),
        ("finished", 0, False, "Not converged"),
        ("finished", 0, True, "Converged"),
    ],
)
def test_the_headline_is_the_verdict(
    record: CampaignRecord, state: str, status: int | None, converged: bool, headline: str
) -> None:
    verdict = {"converged": converged, "reason": "converged: 3% of a sample is uncertain"}
    told = dataclasses.replace(record, process_state=state, exit_status=status, verdict=verdict)
    assert told.headline == headline
    assert told.explanation == "3% of a sample is uncertain."


def test_the_example_frame_is_of_the_last_round(record: CampaignRecord) -> None:
    frame = record.example_frame()
    assert {item["frame"]: item["round"] for item in record.lineage}[frame] == 2
    assert dataclasses.replace(record, lineage=[]).example_frame() is None


def test_a_page_is_small_enough_to_send_by_mail(page: str) -> None:
    assert len(page) < 1_000_000


def test_many_force_components_are_drawn_as_one_image(record: CampaignRecord) -> None:
    values = [0.001 * number for number in range(20_000)]
    assert record.parity is not None
    parity = dataclasses.replace(record.parity, mm_forces=(values, values))
    drawn = figures(dataclasses.replace(bare(record), parity=parity))
    assert set(drawn) == {"parity"}
    assert len(drawn["parity"]) < 500_000
