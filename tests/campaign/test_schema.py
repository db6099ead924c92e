from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiida_hqe.campaign import document, protocols, template
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.errors import InputError

MINIMAL = {"system": {"topology": "a.pdb", "qm": {"atoms": [0]}, "charge": 0}}


def read(path: Path) -> Campaign:
    return document.read(path, Campaign, protocols.resolve)


@pytest.mark.parametrize("name", protocols.names())
def test_a_protocol_alone_makes_a_valid_campaign(name: str) -> None:
    campaign = Campaign.model_validate(protocols.resolve(MINIMAL | {"protocol": name}))
    assert campaign.protocol == name
    assert campaign.max_labels > campaign.sampling.initial_frames


def test_protocols_grow_more_careful_from_fast_to_stringent() -> None:
    campaigns = [Campaign.model_validate(protocols.resolve(MINIMAL | {"protocol": name})) for name in protocols.names()]
    assert [campaign.protocol for campaign in campaigns] == ["fast", "balanced", "stringent"]
    errors = [campaign.selection.target_force_error for campaign in campaigns]
    assert errors == sorted(errors, reverse=True)
    for values in (
        [campaign.selection.confidence for campaign in campaigns],
        [campaign.sampling.initial_frames for campaign in campaigns],
        [campaign.levels.environment.grid_level for campaign in campaigns],
        [campaign.max_labels for campaign in campaigns],
    ):
        assert values == sorted(values)
        assert len(set(values)) == len(values)


def test_what_the_file_says_wins_over_the_protocol_at_every_depth() -> None:
    data = MINIMAL | {"protocol": "fast", "levels": {"environment": {"xc": "b3lyp"}}, "sampling": {"steps": 700}}
    before = yaml.safe_dump(data)
    resolved = protocols.resolve(data)
    fast = protocols.resolve({"protocol": "fast"})
    assert resolved["levels"]["environment"] == fast["levels"]["environment"] | {"xc": "b3lyp"}
    assert resolved["sampling"] == fast["sampling"] | {"steps": 700}
    assert yaml.safe_dump(data) == before


def test_resolving_never_changes_the_protocol_itself() -> None:
    protocols.resolve({"protocol": "fast"})["sampling"]["steps"] = 1
    assert protocols.resolve({"protocol": "fast"})["sampling"]["steps"] > 1


@pytest.mark.parametrize("wrong", ["fats", 3, ["fast"], {}, None])
def test_an_unknown_protocol_is_named_with_those_there_are(wrong: Any) -> None:
    with pytest.raises(InputError, match="one of fast, balanced, stringent was expected") as raised:
        protocols.resolve({"protocol": wrong})
    assert raised.value.key == "protocol"


@pytest.mark.parametrize("name", template.names())
def test_a_campaign_dumped_to_json_validates_to_the_same_campaign(name: str, tmp_path: Path) -> None:
    campaign = read(template.copy(name, tmp_path)[0])
    assert Campaign.model_validate(campaign.model_dump(mode="json")) == campaign


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "core_orbitals: [5]",
            "core_orbitals: [5, 3]",
            "levels.embedding.core_orbitals: one number of orbitals for each",
        ),
        (
            "core_orbitals: [5]}",
            "core_orbitals: [5]}\n  baseline: hf-minimal\npotential: {baseline: gfn2-xtb}\n",
            "levels.baseline: the baseline of the potential, gfn2-xtb, was expected (got hf-minimal)",
        ),
        (", core_orbitals: [5]", "", "levels.embedding.core_orbitals: one number of orbitals for each"),
        ("interval: 20", "interval: 5000", "sampling.steps: at least one interval, 5000, was expected (got 1000)"),
        (
            "interval: 20",
            "interval: 20\n  initial_steps: 5",
            "sampling.initial_steps: at least initial_frames, 32, was",
        ),
        (
            "interval: 20",
            "interval: 20\n  initial_frames: 9",
            "sampling.initial_frames: a first set with at least 4 held-out",
        ),
        ("batch: 8", "confidence: 0.99", "sampling.initial_frames: a first set with at least 99 held-out labels was"),
        (
            "switch_width: 1.5 angstrom",
            "switch_width: 9 angstrom",
            "system: switch_width smaller than cutoff was expected",
        ),
        ("box: 23 angstrom", "box: 23 angstrom, padding: 1 nm", "system.solvate: either box (edge length) or padding"),
        ("seed: 2026", "seed: -1", "seed: a value at least 0 was expected (got -1)"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(
    edited: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    path = edited(old, new)
    with pytest.raises(InputError) as raised:
        read(path)
    place, _, rest = str(raised.value).partition(": ")
    assert rest.startswith(message)
    assert place.startswith(f"{path}:")


def test_templates_are_copied_whole_and_never_over_other_files(tmp_path: Path) -> None:
    written = template.copy("methanol-water", tmp_path / "a" / "b")
    assert [path.name for path in written] == ["campaign.yaml", "methanol.pdb", "methanol.xml"]
    written[1].write_text("mine")
    with pytest.raises(InputError, match="nothing is overwritten"):
        template.copy("methanol-water", tmp_path / "a" / "b")
    assert written[1].read_text() == "mine"
    with pytest.raises(InputError, match="a folder was expected"):
        template.copy("methanol-water", written[0])
    with pytest.raises(InputError, match="one of methanol-water, peptide, peptide-water"):
        template.copy("benzene", tmp_path / "c")
