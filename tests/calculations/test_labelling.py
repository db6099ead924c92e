"""Nothing lost, nothing repeated: what label jobs leave, and what is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory
from campaign_cases import data, harmonic, hydrogens, labelled

from aiida_hqe.calculations import labelling
from aiida_hqe.calculations.label import LabelCalculation, level_key
from aiida_hqe.embedding.level import Level
from aiida_hqe.frames import Frames
from aiida_hqe.parsers.label import LabelParser

pytestmark = pytest.mark.usefixtures("aiida_profile")
NO_SCF = {"error_kind": "convergence", "message": "no SCF"}
NO_MEMORY = {"error_kind": "resource", "message": "out of memory"}


def unfinished(frames: Frames, cause: str = "killed", *, working: bool = True) -> orm.Dict:
    """What the parser says of frames that a job did not come to."""
    suspect = frames[0].hash if working else None
    return orm.Dict({"frames": frames.hashes, "cause": cause, "message": f"ended: {cause}", "suspect": suspect})


def test_only_the_frames_that_a_killed_job_did_not_come_to_are_tried_again() -> None:
    frames = hydrogens(6)
    results = {
        "frames_0000": data(Frames(harmonic(frame) for frame in frames[:2])),
        "failed_0000": orm.Dict({frames[2].hash: NO_SCF}),
        "unfinished_0000": unfinished(Frames(frames[3:])),
    }
    again = labelling.retry(data(frames), orm.Int(1), **results)
    assert again["batch_00"].frames.hashes == [frames[4].hash, frames[5].hash, frames[3].hash]


def test_a_frame_that_ends_its_job_twice_is_quarantined_and_keeps_no_other_from_its_label() -> None:
    frames = hydrogens(3)
    poison = Frames(frames[:1])
    results = {"unfinished_0000": unfinished(frames)}
    assert labelling.outcome(frames.hashes, results).waiting == [*frames.hashes[1:], poison[0].hash]
    results |= {"frames_0001": data(Frames(map(harmonic, frames[1:]))), "unfinished_0001": unfinished(poison)}
    found = labelling.outcome(frames.hashes, results)
    assert found.waiting == []
    assert found.failed == {poison[0].hash: {"error_kind": "resource", "message": "ended: killed"}}
    assert labelling.retry(data(frames), orm.Int(2), **{k: v.store() for k, v in results.items()}) == {}


def test_a_job_that_ended_by_itself_in_time_blames_no_frame() -> None:
    frames = hydrogens(4)
    results = {f"unfinished_{n:04d}": unfinished(frames, "walltime", working=False) for n in range(5)}
    assert labelling.outcome(frames.hashes, results).waiting == frames.hashes


def test_a_frame_without_memory_is_tried_once_more_and_one_without_convergence_is_not() -> None:
    frames = hydrogens(2)
    results = {"failed_0000": orm.Dict({frames[0].hash: NO_MEMORY, frames[1].hash: NO_SCF})}
    assert labelling.outcome(frames.hashes, results).waiting == [frames[0].hash]
    results["failed_0001"] = orm.Dict({frames[0].hash: NO_MEMORY})
    assert labelling.outcome(frames.hashes, results).failed == {frames[0].hash: NO_MEMORY, frames[1].hash: NO_SCF}


def test_a_label_wins_over_the_failure_of_an_earlier_attempt() -> None:
    frames = hydrogens(1)
    results = {"failed_0000": orm.Dict({frames[0].hash: NO_MEMORY}), "frames_0001": data(Frames(map(harmonic, frames)))}
    gathered = labelling.gather(data(frames), **results)
    assert "failed" not in gathered
    assert gathered["frames"].n_labelled == 1


def test_a_job_that_refused_its_input_is_not_repeated() -> None:
    frames = hydrogens(2)
    found = labelling.outcome(frames.hashes, {"unfinished_0000": unfinished(frames, "input", working=False)})
    assert found.waiting == []
    assert {reason["error_kind"] for reason in found.failed.values()} == {"input"}


def test_labels_are_taken_from_earlier_batches_with_the_info_of_the_new_frame() -> None:
    wanted = Frames(frame.replace(info={"step": 99, "reason": "uncertain"}) for frame in hydrogens(4))
    taken = labelling.reuse(data(wanted), earlier_1=data(labelled(2)), earlier_2=data(labelled(2, first=1)))
    assert taken["frames"].frames.hashes == wanted.hashes[:3]
    assert taken["missing"].frames.hashes == wanted.hashes[3:]
    for got, expected in zip(taken["frames"].frames, labelled(3), strict=True):
        assert got.environment_energy == expected.environment_energy
        np.testing.assert_array_equal(got.environment_forces, expected.environment_forces)
        assert (got.info["step"], got.info["reason"], got.info["seconds"]) == (99, "uncertain", 2.0)
    creator = taken["frames"].creator
    assert {link.link_label for link in creator.base.links.get_incoming()} == {"frames", "earlier_1", "earlier_2"}


def test_a_label_that_is_taken_says_all_that_it_said_before() -> None:
    """Of composite forces the method, else they would count as derivatives of the energy; and the baseline."""
    (frame,) = labelled(1)
    said = {"force_method": "mp2", "baseline": "hf-minimal"}
    forces = {"forces": np.ones((2, 3)), "mm_forces": np.ones((1, 3))}
    old = frame.replace(
        energy=-30.0, **forces, baseline_energy=-20.0, baseline_forces=forces["forces"], info={**frame.info, **said}
    )
    (got,) = labelling.reuse(data(hydrogens(1)), earlier_1=data(Frames([old])))["frames"].frames
    assert {key: got.info.get(key) for key in said} == said
    assert (got.energy, got.baseline_energy) == (-30.0, -20.0)
    np.testing.assert_array_equal(got.baseline_forces, old.baseline_forces)


@pytest.mark.parametrize(
    ("frames", "at_most", "seconds", "expected"),
    [
        (8, 2, None, 2),
        (8, 2, 2.4, 2),  # a small round is shared, so that it ends sooner
        (8, 2, 0.3, 1),  # not one of two seconds
        (1000, 200, 0.05, 7),
        (1000, 200, 60.0, 200),  # each has 300 s to do, 100 times its own cost
        (20000, 500, 10.0, 500),
        (20000, 1000, 10.0, 666),
        (3, 8, 900.0, 3),
    ],
)
def test_jobs_have_a_hundred_times_their_cost_to_do_or_are_as_many_as_end_the_round_soonest(
    frames: int, at_most: int, seconds: float | None, expected: int
) -> None:
    assert labelling.job_count(frames, at_most, seconds) == expected


def test_the_cost_of_a_label_is_measured_on_labels_and_recorded_as_an_input() -> None:
    measured = data(labelled(4))
    measured.base.attributes.set("label_seconds", 0.4)  # 0.1 s each: all eight are not worth a second job
    parts = labelling.split(data(hydrogens(8)), orm.Int(4), measured.store())
    assert list(parts) == ["batch_00"]
    assert parts["batch_00"].creator.inputs.measured.uuid == measured.uuid


def test_labels_of_another_level_or_another_version_of_the_physics_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    level = Level()
    spelled = Level.model_validate(level.model_dump(mode="json"))
    other = Level.model_validate({"environment": {"xc": "pbe0"}})
    assert level_key(level) == level_key(spelled) != level_key(other)
    before = level_key(level)
    monkeypatch.setattr(LabelCalculation, "CACHE_VERSION", LabelCalculation.CACHE_VERSION + 1)
    assert level_key(level) != before


@pytest.fixture
def cache_key(hqe_code: Any) -> Callable[..., str]:
    """By what AiiDA's caching knows a label job of fixed frames."""
    frames = data(hydrogens(2)).store()

    def make(level: dict[str, Any] | None = None, **inputs: Any) -> str:
        level_node = orm.Dict(Level.model_validate(level or {}).model_dump(mode="json"))
        inputs |= {"code": hqe_code, "frames": frames, "level": level_node}
        process = instantiate_process(get_manager().get_runner(), CalculationFactory("hqe.label"), **inputs)
        return str(process.node.base.caching.compute_hash())

    return make


def test_equal_label_jobs_are_one_to_caching_whatever_threads_device_and_time_they_are_given(
    cache_key: Callable[..., str],
) -> None:
    options = {"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}, "max_wallclock_seconds": 60}
    assert cache_key() == cache_key(threads=4) == cache_key(device="cuda")
    assert cache_key() == cache_key(metadata={"label": "other", "options": options})
    assert cache_key() != cache_key({"environment": {"xc": "pbe0"}})


@pytest.mark.parametrize("process_class", [LabelCalculation, LabelParser])
def test_raising_the_cache_version_of_calculation_or_parser_ends_the_reuse_of_its_results(
    cache_key: Callable[..., str], process_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache_key()
    monkeypatch.setattr(process_class, "CACHE_VERSION", process_class.CACHE_VERSION + 1)
    assert cache_key() != before
