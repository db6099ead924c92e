"""The page of a campaign says what the record says, and needs nothing but itself."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re

import pytest

from aiida_hqe.report.figures import figures
from aiida_hqe.report.page import SECTIONS, render
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


def lineage_data(page: str) -> dict:
    return json.loads(re.search(r'id="lineage-data">(.*?)</script>', page, re.DOTALL)[1])


def test_every_section_has_its_heading_and_its_link(record: CampaignRecord) -> None:
    page = render(record)
    for number, name in enumerate(SECTIONS, start=1):
        assert re.search(rf'<h2 id="section-{number}">.*{name}</h2>', page)
        assert f'href="#section-{number}"' in page
    assert len(set(outline(page).ids)) == len(outline(page).ids)


def test_the_page_refers_to_nothing_outside_itself(record: CampaignRecord) -> None:
    page = render(record)
    assert not re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]{2,}", page)
    assert not re.findall(r"<(?:link|img|iframe|object|embed)\b|@import|\bfetch\(|XMLHttpRequest|\burl\((?!#)", page)
    assert all(reference.startswith("#") for reference in re.findall(r'(?:href|src)="([^"]*)"', page))


def test_every_figure_is_drawn_inline(record: CampaignRecord) -> None:
    drawn = figures(record)
    assert set(drawn) == {"learning", "parity", "calibration", "selection", "cost"}
    assert outline(render(record)).counts["svg"] == len(drawn)
    assert "force error / meV" in drawn["learning"]


def test_the_same_record_gives_the_same_bytes(record: CampaignRecord) -> None:
    assert render(record) == render(record)


def test_numbers_of_the_rounds_stand_in_the_table(record: CampaignRecord) -> None:
    page = render(record)
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[1][8] == "170.0 ± 20.0"
    assert rows[0][11] == "–"


def test_the_lineage_of_every_labelled_frame_can_be_looked_up(record: CampaignRecord) -> None:
    data = lineage_data(render(record))
    assert data == {item["frame"]: item for item in record.lineage}


def test_text_of_a_failure_cannot_become_markup(record: CampaignRecord) -> None:
    page = render(record)
    assert "SCF did not converge after 3 rungs &lt;&amp;&gt;" in page
    evil = [{**record.lineage[0], "reason": "</script><script>alert(1)</script>"}]
    page = render(dataclasses.replace(record, lineage=evil, name="<b>"))
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert lineage_data(page)[evil[0]["frame"]] == evil[0]


def test_a_campaign_without_failures_says_so(record: CampaignRecord) -> None:
    assert "no failure" in render(dataclasses.replace(record, failures=[]))


def test_a_campaign_that_ended_at_once_still_has_a_page() -> None:
    empty = CampaignRecord(
        pk=1, uuid="0" * 36, name="early", created="", finished="", seconds=3.0, process_state="excepted", exit_status=None,
        verdict={"converged": False, "reason": "excepted"}, campaign={}, rounds=[],
    )  # fmt: skip
    page = render(empty)
    outline(page)
    assert page.count("No data") == 5
    assert "svg" not in outline(page).counts


def test_the_example_frame_is_of_the_last_round(record: CampaignRecord) -> None:
    frame = record.example_frame()
    assert {item["frame"]: item["round"] for item in record.lineage}[frame] == 2
    assert dataclasses.replace(record, lineage=[]).example_frame() is None


@pytest.mark.parametrize("rounds", [1, 3])
def test_pages_are_small_enough_to_send_by_mail(record: CampaignRecord, rounds: int) -> None:
    page = render(dataclasses.replace(record, selections=record.selections[:rounds]))
    assert len(page) < 2_000_000
