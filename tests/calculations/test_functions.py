from __future__ import annotations

from typing import Any

import pytest
from aiida import orm
from campaign_cases import campaign, data, harmonic, hydrogens, labelled, predictions, step

from aiida_hqe.calculations.functions import calibrate, partition, select, share
from aiida_hqe.calculations.labelling import LOST, gather, split
from aiida_hqe.calculations.settings import first_settings, next_settings
from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frames
from aiida_hqe.jobs import files

pytestmark = pytest.mark.usefixtures("aiida_profile")


def disagreeing(values: list[float]) -> FramesData:
    frames = hydrogens(len(values))
    return data(
        Frames(frame.replace(info={**frame.info, "disagreement": d}) for frame, d in zip(frames, values, strict=True))
    )


def calibration() -> orm.Dict:
    """Errors of 0.05 eV/angstrom at a disagreement that makes the bound of any frame its disagreement times a known factor."""
    return calibrate(data(labelled(8)), predictions(labelled(8), 0.05, 0.02), step())


def test_raising_the_cache_version_of_selection_ends_the_reuse_of_what_was_selected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from aiida.manage.caching import enable_caching

    from aiida_hqe.calculations import settings

    frames, scale = disagreeing([0.05, 0.02, 0.04]).store(), calibration()

    def cached(steps: orm.Dict) -> bool:
        with enable_caching(identifier="aiida_hqe.calculations.functions.select"):
            return bool(select.run_get_node(frames, steps, scale)[1].base.caching.is_created_from_cache)

    assert not cached(step())
    assert cached(step())
    monkeypatch.setattr(settings, "CACHE_VERSION", settings.CACHE_VERSION + 1)
    assert not cached(step())


def test_steps_of_an_earlier_version_are_read() -> None:
    from aiida_hqe.calculations.settings import SelectionStep

    earlier = {key: value for key, value in step().get_dict().items() if key != "cache_version"}
    assert SelectionStep.model_validate(earlier).cache_version == 1


@pytest.mark.parametrize(("frames", "batches", "expected"), [(5, 2, [3, 2]), (2, 4, [1, 1]), (3, 1, [3])])
def test_splitting_loses_and_repeats_nothing(frames: int, batches: int, expected: list[int]) -> None:
    parts = split(data(hydrogens(frames)), orm.Int(batches))
    assert [parts[name].n_frames for name in sorted(parts)] == expected
    hashes = [key for part in parts.values() for key in part.frames.hashes]
    assert sorted(hashes) == sorted(hydrogens(frames).hashes)


def test_members_are_shared_among_the_jobs() -> None:
    job = {"potential": {}, "training": {}, "members": [0, 1, 2], "seed": 5}
    shares = share(orm.Dict(job), orm.Int(2))
    assert [shares[name]["members"] for name in sorted(shares)] == [[0, 2], [1]]
    assert {shares[name]["seed"] for name in shares} == {5}


def test_labelled_and_quarantined_frames_together_are_the_flagged_ones() -> None:
    frames = hydrogens(4)
    failure = {"error_kind": "convergence", "message": "no SCF"}
    batches = {
        "frames_00": data(Frames([harmonic(frames[2]), harmonic(frames[0])])),
        "failed_01": orm.Dict({frames[1].hash: failure}),
    }
    gathered = gather(data(frames), **batches)
    assert gathered["frames"].frames.hashes == [frames[0].hash, frames[2].hash]
    assert gathered["failed"].get_dict() == {frames[1].hash: failure, frames[3].hash: LOST}


def test_nothing_labelled_leaves_every_frame_quarantined() -> None:
    gathered = gather(data(hydrogens(2)))
    assert "frames" not in gathered
    assert len(gathered["failed"].get_dict()) == 2


def test_a_held_out_label_is_never_trained_on_in_any_later_round() -> None:
    first = partition(data(labelled(12)), step())
    counts = {"training_set": 6, "held_out": 6, "labels": 12, "added_training": 6, "added_held_out": 6}
    assert {name: node.n_frames for name, node in first.items()} == counts
    before = {name: first[name] for name in ("training_set", "held_out")}
    second = partition(data(labelled(8, first=8)), step(), **before)
    held_out, training = (set(second[name].frames.hashes) for name in ("held_out", "training_set"))
    assert not held_out & training
    assert set(first["held_out"].frames.hashes) <= held_out
    assert set(first["training_set"].frames.hashes) <= training
    assert held_out | training == set(hydrogens(16).hashes)


def test_a_first_division_holds_out_what_a_calibration_needs() -> None:
    sets = partition(data(labelled(8)), step(held_out=0.01))
    assert sets["held_out"].n_frames == 3  # confidence 0.75


def test_equal_labels_are_divided_alike_in_whatever_order_they_come() -> None:
    one = partition(data(labelled(8)), step())
    other = partition(data(Frames(reversed(labelled(8)))), step())
    assert set(one["held_out"].frames.hashes) == set(other["held_out"].frames.hashes)


def test_a_first_set_is_flagged_whole() -> None:
    chosen = select(data(hydrogens(5)), step(converged_below=None))
    assert chosen["flagged"].frames.hashes == hydrogens(5).hashes
    assert {frame.info["reason"] for frame in chosen["flagged"].frames} == {"first set"}


def test_only_uncertain_frames_that_are_not_known_are_flagged() -> None:
    known = orm.Dict({hydrogens(6)[5].hash: LOST})
    chosen = select(disagreeing([0.001, 0.001, 0.001, 0.5, 0.6, 0.7]), step(), calibration(), failed=known)
    assert chosen["selection"].get_dict() == {
        "sampled": 6, "uncertain": 3, "uncertain_fraction": 0.5, "flagged": 2, "converged": False,
    }  # fmt: skip
    assert set(chosen["flagged"].frames.hashes) == {frame.hash for frame in hydrogens(6)[3:5]}
    assert all(frame.info["bound"] > 0.1 for frame in chosen["flagged"].frames)


def test_a_converged_sample_flags_nothing() -> None:
    chosen = select(disagreeing([0.001, 0.001, 0.001, 0.7]), step(), calibration())
    assert chosen["selection"]["converged"]
    assert "flagged" not in chosen


def test_a_labelled_frame_is_not_flagged_again() -> None:
    chosen = select(disagreeing([0.7, 0.8]), step(), calibration(), labelled=data(labelled(1)))
    assert chosen["flagged"].frames.hashes == [hydrogens(2)[1].hash]


def test_a_committee_whose_members_never_disagree_is_refused_not_trusted() -> None:
    _, node = calibrate.run_get_node(data(labelled(8)), predictions(labelled(8), 0.05, 0.0), step())
    assert node.exit_status == 400
    assert "members that disagree were expected" in node.exit_message


def test_too_few_held_out_labels_are_refused() -> None:
    _, node = calibrate.run_get_node(data(labelled(2)), predictions(labelled(2), 0.05, 0.01), step())
    assert node.exit_status == 400
    assert "at least 3 held-out labels" in node.exit_message


def test_equal_campaigns_have_equal_settings_and_other_seeds_at_each_step() -> None:
    one, other = first_settings(campaign()), first_settings(campaign())
    assert {name: node.base.caching.compute_hash() for name, node in one.items()} == {
        name: node.base.caching.compute_hash() for name, node in other.items()
    }
    later = next_settings(campaign(), orm.Dict({"round": 0}), calibration())
    seeds = [
        node["seed"]
        for node in (*one.values(), *later.values())
        if isinstance(node, orm.Dict) and "seed" in node.get_dict()
    ]
    assert len(set(seeds)) == len(seeds) == 7
    reseeded = first_settings(campaign(seed=5))
    assert reseeded["sample"]["seed"] != one["sample"]["seed"]
    assert reseeded["level"].base.caching.compute_hash() == one["level"].base.caching.compute_hash()


def test_name_and_resources_of_a_campaign_change_no_step() -> None:
    one = first_settings(campaign())
    other = first_settings(campaign(name="other", resources={"threads": 4, "walltime": "1 h"}))
    assert all(one[name].base.caching.compute_hash() == other[name].base.caching.compute_hash() for name in one)


@pytest.mark.parametrize(("walkers", "frames"), [(1, 12), (3, 12), (5, 15)])
def test_the_first_sample_has_the_frames_asked_for(walkers: int, frames: int) -> None:
    sampling = {"initial_frames": 12, "initial_steps": 120, "steps": 40, "interval": 10, "walkers": walkers}
    job = files.SampleJob.model_validate(first_settings(campaign(sampling=sampling))["sample"].get_dict())
    assert walkers * (job.steps // job.interval) == frames
    assert job.trust_disagreement is None


def test_a_driven_sample_stops_where_the_bound_is_too_far_above_the_target_error() -> None:
    scale = calibration()
    job = next_settings(campaign(), orm.Dict({"round": 1}), scale)
    limit: Any = job["sample"]["trust_disagreement"]
    assert job["round"] == 2
    assert limit * scale["force_factor"] == pytest.approx(10.0 * 0.1)
