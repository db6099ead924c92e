from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm

from aiida_hqe.data.frames import FramesData
from aiida_hqe.data.groups import keys
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames

pytestmark = pytest.mark.usefixtures("aiida_profile")


def waters(n: int = 4, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    geometry = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    return Frames(
        Frame(
            numbers=[8, 1, 1],
            positions=geometry + rng.normal(0, 0.02, (3, 3)),
            charge=0,
            spin=0,
            mm_numbers=[8, 1],
            mm_positions=rng.normal(0, 1, (2, 3)) + 5.0,
            mm_charges=[-0.8, 0.8],
            info={"disagreement": 0.1 * number, "step": number},
        )
        for number in range(n)
    )


def labelled(frame: Frame, **values: Any) -> Frame:
    forces = {"environment_forces": np.ones((3, 3)), "environment_mm_forces": np.zeros((2, 3))}
    return frame.replace(environment_energy=-2000.0, **forces, **values)


def test_frames_come_back_bit_identical() -> None:
    frames = waters()
    node = FramesData.from_frames(frames).store()
    assert orm.load_node(node.pk).frames == frames


def test_equal_batches_hash_equal_and_any_difference_shows() -> None:
    first, again = (FramesData.from_frames(waters()).store() for _ in range(2))
    other = FramesData.from_frames(Frames(reversed(waters()))).store()
    assert first.base.caching.compute_hash() == again.base.caching.compute_hash()
    assert first.base.caching.compute_hash() != other.base.caching.compute_hash()


def test_attributes_are_summaries_that_a_query_can_filter() -> None:
    frames = waters()
    mixed = Frames([labelled(frames[0]), labelled(frames[1], energy=-2001.0), *frames[2:]])
    node = FramesData.from_frames(mixed).store()
    assert (node.n_frames, node.n_labelled, node.n_target, node.elements) == (4, 2, 1, [1, 8])
    assert node.base.attributes.get("disagreement")[-1] == pytest.approx(0.3)
    query = orm.QueryBuilder().append(FramesData, filters={"attributes.n_target": {">": 0}, "id": node.pk})
    assert query.count() == 1


def test_an_empty_batch_can_be_stored() -> None:
    node = FramesData.from_frames(Frames()).store()
    assert node.n_frames == 0
    assert node.frames == Frames()


def test_a_frame_is_found_by_the_beginning_of_its_hash() -> None:
    frames = waters()
    node = FramesData.from_frames(frames)
    assert node.find(frames[2].hash[:10]) == frames[2]
    with pytest.raises(InputError, match="got 4"):
        node.find("")


def test_an_xyz_file_becomes_the_same_node_as_its_frames(tmp_path: Path) -> None:
    waters().write(tmp_path / "frames.xyz")
    from_file, from_frames = (
        FramesData.from_file(tmp_path / "frames.xyz").store(),
        FramesData.from_frames(waters()).store(),
    )
    assert from_file.base.caching.compute_hash() == from_frames.base.caching.compute_hash()


def test_frames_of_other_nodes_are_held_without_being_copied() -> None:
    frames = waters(6)
    whole = FramesData.from_frames(frames).store()
    few = whole.subset([4, 1]).store()
    assert few.frames == frames.take([4, 1])
    joined = FramesData.join([few, whole.subset([0, 2]).store(), whole]).store()
    expected = frames.take([4, 1, 0, 2, 0, 1, 2, 3, 4, 5])
    again = FramesData.join([joined, few]).store()
    mixed = again.subset([11, 0, 5]).store()
    assert orm.load_node(joined.pk).frames == expected
    assert (joined.hashes, joined.infos) == (expected.hashes, expected.infos)
    assert joined.take([9, 0]) == expected.take([9, 0])
    assert again.frames == Frames([*expected, *few.frames])
    assert mixed.frames == Frames([frames[1], frames[4], frames[1]])
    names = [(name, key) for node in (few, joined, again, mixed) for name, key in keys(node).items()]
    files = {key for name, key in names if not name.endswith("rows.npy")}
    assert files == set(keys(whole).values())


def test_frames_of_several_nodes_are_picked_in_any_order() -> None:
    one, other = (FramesData.from_frames(waters(3, seed)).store() for seed in (1, 2))
    picked = FramesData.pick([one, other], [(1, 2), (0, 0), (1, 0), (1, 2)]).store()
    assert picked.frames == Frames([other.frames[2], one.frames[0], other.frames[0], other.frames[2]])


def test_equal_batches_are_equal_however_they_lie_in_files() -> None:
    frames = waters(4)
    plain = FramesData.from_frames(frames).store()
    parts = [FramesData.from_frames(frames.take(rows)).store() for rows in ([0, 2], [1, 3])]
    picked = FramesData.pick(parts, [(0, 0), (1, 0), (0, 1), (1, 1)]).store()
    assert picked.base.caching.compute_hash() == plain.base.caching.compute_hash()
    shared = FramesData.join([plain.subset([0]).store(), plain.subset([2, 1]).store()]).store()
    copied = FramesData.join([FramesData.from_frames(frames.take(rows)).store() for rows in ([0], [2, 1])]).store()
    assert shared.base.caching.compute_hash() == copied.base.caching.compute_hash()
    other = plain.subset([1, 0, 2, 3]).store()
    assert other.base.caching.compute_hash() != plain.base.caching.compute_hash()


def test_a_summary_does_not_depend_on_the_files() -> None:
    frames = Frames([labelled(waters()[0]), labelled(waters()[1], energy=-2001.0), *waters()[2:]])
    subset, own = FramesData.from_frames(frames).store().subset([1, 3]), FramesData.from_frames(frames.take([1, 3]))
    assert subset.base.attributes.all == own.base.attributes.all


def noted(frames: Frames) -> Frames:
    """`frames` with what a selection adds to their info."""
    return Frames(
        frame.replace(info={**frame.info, "bound": 0.1 / (rank + 3), "rank": rank, "reason": "uncertain"})
        for rank, frame in enumerate(frames)
    )


def test_frames_whose_info_gained_entries_share_the_files_of_those_before() -> None:
    whole = FramesData.from_frames(waters(6)).store()
    chosen = noted(waters(6).take([4, 1, 3]))
    node = whole.annotated(chosen).store()
    again = orm.load_node(node.pk)
    assert again.frames == chosen
    assert (again.infos, again.hashes, again.digests) == (
        [dict(frame.info) for frame in chosen], chosen.hashes, [frame.digest for frame in chosen],
    )  # fmt: skip
    own = FramesData.from_frames(chosen).store()
    assert node.base.attributes.all == own.base.attributes.all
    assert node.base.caching.compute_hash() == own.base.caching.compute_hash()
    new = {name for name, key in keys(node).items() if key not in keys(whole).values()}
    assert new == {"rows.npy", "gained.json"}


def test_what_an_info_gained_goes_with_its_frame_into_other_batches(tmp_path: Path) -> None:
    whole = FramesData.from_frames(waters(6)).store()
    chosen = noted(waters(6).take([4, 1, 3]))
    node = whole.annotated(chosen).store()
    few = node.subset([2, 0]).store()
    assert few.frames == chosen.take([2, 0])
    picked = FramesData.pick([whole, node], [(1, 1), (0, 0), (1, 2)]).store()
    assert picked.frames == Frames([chosen[1], waters(6)[0], chosen[2]])
    joined = FramesData.join([whole, few, picked]).store()
    assert joined.frames == Frames([*waters(6), *few.frames, *picked.frames])
    assert joined.infos == [dict(frame.info) for frame in joined.frames]
    joined.write(tmp_path / "joined.h5")
    assert Frames.read(tmp_path / "joined.h5") == joined.frames
    twice = node.annotated(Frames(f.replace(info={**f.info, "rank": 7, "more": True}) for f in chosen[:2]))
    assert [dict(frame.info) for frame in twice.frames] == [{**f.info, "rank": 7, "more": True} for f in chosen[:2]]


def test_frames_that_are_not_those_of_the_batch_but_for_their_info_are_written_anew() -> None:
    whole = FramesData.from_frames(waters()).store()
    for frames in (
        Frames([labelled(waters()[1])]),
        Frames([waters(1, 7)[0]]),
        Frames([waters()[0].replace(info={"only": 1})]),
    ):
        node = whole.annotated(frames).store()
        assert node.frames == frames
        assert "gained.json" not in keys(node)


def test_only_what_is_stored_can_be_shared() -> None:
    with pytest.raises(InputError, match="a stored node was expected"):
        FramesData.from_frames(waters()).subset([0])


def test_a_shared_batch_is_written_as_one_file(tmp_path: Path) -> None:
    node = FramesData.from_frames(waters()).store()
    rows = [2, 0]
    node.subset(rows).store().write(tmp_path / "few.h5")
    waters().take(rows).write(tmp_path / "expected.h5")
    assert (tmp_path / "few.h5").read_bytes() == (tmp_path / "expected.h5").read_bytes()
    node.write(tmp_path / "all.h5")
    assert Frames.read(tmp_path / "all.h5") == waters()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.h5"
    waters().write(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((IntegrityError, InputError)):
        FramesData.from_file(path)
