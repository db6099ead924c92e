"""Going on from an ended campaign, in whichever way it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common import LinkType
from campaign_graph import Builder, committee_file, labelled, water

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frames
from aiida_hqe.workchains.extension import builder_from_earlier


@pytest.fixture
def earlier(cheap_builder: Any, hqe_code: Any, tmp_path: Path) -> Builder:
    """A killed campaign without outputs, before its first labels."""
    made = cheap_builder()
    builder = Builder(tmp_path, hqe_code.computer, made.campaign.get_dict(), files=made.files.store(), code=hqe_code)
    builder.campaign.base.attributes.set("process_state", "killed")
    return builder


def divided(builder: Builder, labels: Frames, held_out: int) -> dict[str, FramesData]:
    partition = builder.function("functions.partition")
    sets = {"labels": labels, "held_out": Frames(labels[:held_out])}
    return {name: builder.made(partition, name, FramesData.from_frames(part)) for name, part in sets.items()}


def test_a_killed_campaign_is_gone_on_from_by_its_last_committee_and_all_labels(
    earlier: Builder, hqe_code: Any, tmp_path: Path
) -> None:
    labels = Frames(labelled(water(number)) for number in range(6))
    divided(earlier, Frames(labels[:4]), 2)
    train = earlier.work("train", "train_00")
    job = earlier.job("train", train, "job_00")
    committee = earlier.made(job, "committee", CommitteeData.from_file(committee_file(tmp_path)))
    committee.base.links.add_incoming(train, LinkType.RETURN, "committee")
    last = divided(earlier, labels, 3)
    builder = builder_from_earlier(earlier.campaign, 4)
    assert (builder.frames.uuid, builder.held_out.uuid) == (last["labels"].uuid, last["held_out"].uuid)
    assert builder.committee.uuid == committee.uuid
    assert builder.code.uuid == hqe_code.uuid
    document, before = builder.campaign.get_dict(), earlier.campaign.inputs.campaign.get_dict()
    assert document["stop"] == before["stop"] | {"iterations": 4}
    assert document["seed"] != before["seed"]
    assert document["levels"] == before["levels"]
    assert builder.options["max_wallclock_seconds"] == 43200


def test_a_campaign_that_trained_no_committee_leaves_its_labels_to_the_next(earlier: Builder) -> None:
    last = divided(earlier, Frames(labelled(water(number)) for number in range(4)), 2)
    builder = builder_from_earlier(earlier.campaign, 1)
    assert builder.frames.uuid == last["labels"].uuid
    assert not {"committee", "held_out"} & set(builder)


def test_a_campaign_without_labels_is_bad_input(earlier: Builder) -> None:
    with pytest.raises(InputError, match="a campaign with labels was expected"):
        builder_from_earlier(earlier.campaign, 1)


def test_another_code_may_be_named(earlier: Builder, hqe_code: Any) -> None:
    divided(earlier, Frames(labelled(water(number)) for number in range(4)), 2)
    other = orm.InstalledCode(label="other", computer=hqe_code.computer, filepath_executable="/bin/hqe-job").store()
    assert builder_from_earlier(earlier.campaign, 1, other).code.uuid == other.uuid
