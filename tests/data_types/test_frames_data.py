from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm

from aiida_hqe.data.frames import FramesData
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


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.h5"
    waters().write(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((IntegrityError, InputError)):
        FramesData.from_file(path)
