from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from safetensors.numpy import save

from aiida_hqe.data.committee import CommitteeData, read_header
from aiida_hqe.errors import IntegrityError

pytestmark = pytest.mark.usefixtures("aiida_profile")

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "elements": [1, 6, 8],
    "levels": ["environment", "target"],
    "force_level": "environment",
    "learn": "difference",
    "members": {"0": {}, "2": {}},
    "checksum": "abc",
}


def committee_bytes(metadata: dict[str, str] | None = None) -> bytes:
    return save({"member.0.environment.w": np.arange(6.0)}, metadata or {"hqe": json.dumps(DOCUMENT)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "committee.safetensors"
    path.write_bytes(committee_bytes())
    return path


def test_the_header_is_read_without_torch(path: Path) -> None:
    assert read_header(path) == DOCUMENT
    node = CommitteeData.from_file(path).store()
    assert (node.n_members, node.elements, node.levels) == (2, [1, 6, 8], ["environment", "target"])
    assert node.base.attributes.get("members") == [0, 2]
    assert orm.load_node(node.pk).header() == DOCUMENT


def test_equal_committees_hash_equal(path: Path) -> None:
    first, again = CommitteeData.from_file(path).store(), CommitteeData.from_file(path).store()
    assert first.base.caching.compute_hash() == again.base.caching.compute_hash()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05\x00",
        committee_bytes()[:-8],
        committee_bytes() + b"\x00",
        committee_bytes({"other": "{}"}),
        committee_bytes({"hqe": "no JSON"}),
        committee_bytes({"hqe": "[]"}),
        committee_bytes({"hqe": json.dumps({"members": {}})}),
        b"\xff" * 64,
        (20).to_bytes(8, "little") + b"[1, 2, 3]           ",
    ],
    ids=["empty", "cut", "truncated", "longer", "key", "text", "list", "incomplete", "length", "header"],
)
def test_a_damaged_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="whole committee file was expected"):
        CommitteeData.from_file(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="got none"):
        CommitteeData.from_file(tmp_path / "none.safetensors")
