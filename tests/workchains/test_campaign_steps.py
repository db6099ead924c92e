"""Steps of the campaign in memory: what each ending of a step below leads to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from campaign_graph import committee_file
from ended_processes import ended

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.workchains.campaign import STOP


def frames(n: int, **info: Any) -> FramesData:
    zero = [[0.0, 0.0, 0.0]] * 2
    return FramesData.from_frames(
        Frames(
            Frame(
                numbers=[1, 1],
                positions=[[0, 0, 0], [0.7 + 0.01 * i, 0, 0]],
                charge=0,
                spin=0,
                environment_energy=-31.0,
                environment_forces=zero,
                info=info,
            )
            for i in range(n)
        )
    )


@pytest.fixture
def chain(cheap_builder: Any) -> Any:
    """A campaign that has begun its first round."""
    process = instantiate_process(get_manager().get_runner(), cheap_builder())
    process.start()
    assert process.goes_on()
    return process


@pytest.fixture
def later(chain: Any, assessment: Callable[..., orm.Dict]) -> Any:
    """A campaign that has finished its first round."""
    chain.ctx.sets = {"training_set": frames(4), "held_out": frames(3), "labels": frames(7)}
    chain.ctx.assessments = [assessment()]
    return chain


@pytest.fixture
def assessment() -> Callable[..., orm.Dict]:
    def make(**changes: Any) -> orm.Dict:
        entries = {
            "round": 1, "converged": False, "flagged": 3, "uncertain_fraction": 0.5, "trusted": True, "spent_seconds": 1.0,
            "training_frames": 8, "held_out_frames": 4, "force_error": 0.2,
        }  # fmt: skip
        return orm.Dict(entries | changes)

    return make


def test_progress_is_in_the_extras_from_the_start(chain: Any) -> None:
    extras = chain.node.base.extras
    assert (extras.get("hqe_round"), extras.get("hqe_rounds")) == (0, [])
    chain._progress("labelling", total=5)
    assert (extras.get("hqe_stage"), extras.get("hqe_total")) == ("labelling", 5)


@pytest.mark.parametrize(("below", "above"), [(410, 410), (401, 400), (400, 400)])
def test_a_sampling_that_failed_ends_the_campaign(chain: Any, below: int, above: int) -> None:
    chain.ctx.sampling = ended(below, message="it broke")
    code = chain.select()
    assert code.status == above
    assert "round 0" in code.message
    assert "it broke" in code.message


def test_a_first_set_without_any_label_ends_the_campaign(chain: Any) -> None:
    chain.ctx.labelling = ended(400, message="no SCF", failed=orm.Dict({"a": {"message": "no SCF"}}))
    assert chain.quarantine().status == 401


def test_a_later_round_without_any_label_is_survived(later: Any, assessment: Callable[..., orm.Dict]) -> None:
    later.ctx.settings = later.ctx.settings | {"round": orm.Int(1)}
    later.ctx.labelling = ended(400, message="no SCF", failed=orm.Dict({"a": {"message": "no SCF"}}))
    assert later.quarantine() is None
    assert not later.has_labels()
    assert list(later.ctx.failures) == ["failed_01"]


def test_a_later_round_that_the_machine_spoilt_ends_the_campaign_and_keeps_its_labels(later: Any) -> None:
    later.ctx.settings = later.ctx.settings | {"round": orm.Int(1)}
    later.ctx.labelling = ended(410, message="no memory", failed=orm.Dict({"a": {"message": "no memory"}}))
    assert later.quarantine().status == 401
    assert later.outputs["labels"].n_frames == 7


def test_too_few_labels_to_train_end_the_campaign_but_are_kept(chain: Any) -> None:
    chain.ctx.labelled = {"frames": frames(3).store()}  # two are held out, two members need two to train on
    code = chain.partition()
    assert code.status == 402
    assert chain.outputs["labels"].n_frames == 3


def test_a_training_that_failed_ends_the_campaign_but_labels_are_kept(later: Any) -> None:
    later.ctx.training = ended(402, message="members never disagree")
    code = later.assess()
    assert code.status == 403
    assert later.outputs["labels"].n_frames == 7
    assert later.node.base.extras.get("hqe_stage") == "failed"


@pytest.mark.parametrize(
    "change", [{"converged": True}, {"round": 2}, {"flagged": 0}], ids=["converged", "rounds spent", "nothing left"]
)
def test_the_campaign_ends_by_its_own_rule(
    later: Any, assessment: Callable[..., orm.Dict], change: dict[str, Any]
) -> None:
    later.ctx.assessments = [assessment(**change)]
    assert not later.goes_on()
    assert later.ctx.cause is None


def test_the_campaign_ends_when_asked(later: Any) -> None:
    later.node.base.extras.set(STOP, True)
    assert not later.goes_on()
    assert "stopped by the user" in later.ctx.cause.value


def test_a_campaign_asked_to_stop_labels_and_trains_nothing_more(later: Any) -> None:
    later.ctx.selected = {"flagged": frames(1)}
    assert later.has_flagged()
    assert later.trains()
    later.node.base.extras.set(STOP, True)
    assert not later.has_flagged()
    assert not later.trains()


def test_a_campaign_stopped_between_labelling_and_training_keeps_every_label(chain: Any) -> None:
    chain.ctx.labelled = {"frames": frames(7).store()}
    assert chain.partition() is None
    chain.node.base.extras.set(STOP, True)
    assert not chain.trains()
    assert chain.assess() is None
    assert not chain.goes_on()
    assert chain.predict() is None
    assert chain.conclude() is None
    assert chain.outputs["labels"].n_frames == 7
    assert {"training_set", "held_out"} <= set(chain.outputs)
    assert "stopped by the user in round 0" in chain.outputs["verdict"]["reason"]
    assert "learning_curve" not in chain.outputs


def test_a_campaign_stopped_before_it_labelled_anything_ends_with_a_verdict(chain: Any) -> None:
    chain.node.base.extras.set(STOP, True)
    assert chain.assess() is None
    assert not chain.goes_on()
    assert chain.conclude() is None
    assert "stopped by the user" in chain.outputs["verdict"]["reason"]


def test_labels_held_out_before_stay_held_out(cheap_builder: Any, tmp_path: Path) -> None:
    labels = frames(7)
    builder = cheap_builder()
    builder.frames, builder.held_out = labels, FramesData.from_frames(Frames(labels.frames[2:5]))
    builder.committee = CommitteeData.from_file(committee_file(tmp_path))
    process = instantiate_process(get_manager().get_runner(), builder)
    process.start()
    assert process.goes_on()
    assert not process.needs_sample()
    assert process.has_labels()
    assert process.partition() is None
    assert process.ctx.sets["held_out"].frames.hashes == labels.frames.hashes[2:5]
    assert set(process.ctx.sets["training_set"].frames.hashes).isdisjoint(labels.frames.hashes[2:5])
    assert process.ctx.sets["labels"].n_frames == 7


def test_held_out_labels_come_with_the_committee_that_never_saw_them(cheap_builder: Any, tmp_path: Path) -> None:
    builder = cheap_builder()
    builder.frames = builder.held_out = frames(7)
    with pytest.raises(ValueError, match="give frames and committee"):
        instantiate_process(get_manager().get_runner(), builder)
    del builder.held_out
    builder.committee = CommitteeData.from_file(committee_file(tmp_path))
    with pytest.raises(ValueError, match="held_out was expected with frames and committee"):
        instantiate_process(get_manager().get_runner(), builder)


def test_a_builder_of_a_protocol_takes_overrides_and_the_files(cheap_builder: Any) -> None:
    builder = cheap_builder(resources={"threads": 2, "device": "cuda", "walltime": "10 min", "memory": "2 GB"})
    campaign = builder.campaign.get_dict()
    assert (campaign["protocol"], campaign["training"]["members"]) == ("fast", 2)
    assert sorted(builder.files.base.repository.list_object_names()) == ["methanol.pdb", "methanol.xml"]
    assert (builder.threads, builder.device) == (2, "cuda")
    assert builder.options == {"max_wallclock_seconds": 600, "max_memory_kb": 2000000}


def test_a_wrong_override_is_refused_with_its_key(cheap_builder: Any) -> None:
    with pytest.raises(InputError, match=r"selection\.batch"):
        cheap_builder(selection={"batch": 0})


def test_equal_campaigns_have_equal_inputs(cheap_builder: Any) -> None:
    one, other = cheap_builder(), cheap_builder()
    for name in ("campaign", "files"):
        assert one[name].store().base.caching.compute_hash() == other[name].store().base.caching.compute_hash()
