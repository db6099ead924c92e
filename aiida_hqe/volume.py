"""What a campaign takes in the repository, in bytes for each label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from aiida import orm
from aiida.manage import get_manager

from aiida_hqe.audit import Audit
from aiida_hqe.data.groups import keys
from aiida_hqe.frames import ENERGIES, FORCES, MM_FORCES, Frame

KINDS = {
    "label": "labelled", "reuse": "labelled", "select": "flagged", "sample": "sampled", "predict": "predictions",
    "train": "committees", "assemble": "committees", "partition": "sets", "divide": "sets", "gather": "sets", "split": "sets",
}  # fmt: skip
"""What files are, by the step that made them; files of other steps are ``other``."""

_ARRAYS = ("numbers", "positions", "core", "mm_numbers", "mm_positions", "mm_charges", *FORCES, *MM_FORCES)
_WEIGHED = 50


@dataclasses.dataclass(frozen=True)
class Volume:
    """Files of a campaign, each counted once however many nodes share it.

    Attributes
    ----------
    labels
        Number of labelled frames.
    raw
        Bytes of the arrays of one of them: configuration, energies and forces.
    kinds
        Bytes by what the files are, see `KINDS`.
    """

    labels: int
    raw: float
    kinds: dict[str, int]

    @property
    def per_label(self) -> float:
        """Bytes for each labelled frame."""
        return sum(self.kinds.values()) / self.labels

    def shares(self) -> dict[str, float]:
        """Bytes for each labelled frame by kind, in units of its own arrays."""
        return {kind: round(size / self.labels / self.raw, 3) for kind, size in self.kinds.items() if size}

    def __str__(self) -> str:
        ratio = self.per_label / self.raw
        parts = ", ".join(f"{kind} {share:.2f}" for kind, share in self.shares().items() if share >= 0.005)
        return f"{self.per_label:.0f} bytes in files for each of {self.labels} labels, {ratio:.2f} times its arrays: {parts}"


def volume(graph: Audit) -> Volume | None:
    """What the campaign of a graph takes; ``None`` where it has no label."""
    labels = graph.campaign.base.links.get_outgoing(link_label_filter="labels").first()
    if labels is None or not labels.node.n_frames:
        return None
    count = labels.node.n_frames
    some = labels.node.take(range(0, count, 1 + count // _WEIGHED))
    raw = sum(map(raw_bytes, some)) / len(some)
    return Volume(count, raw, _by_kind([*graph.data.values(), *graph.processes.values()]))


def raw_bytes(frame: Frame) -> int:
    """Bytes of the arrays of a frame and its labels."""
    arrays = [getattr(frame, name) for name in _ARRAYS]
    energies = sum(getattr(frame, name) is not None for name in ENERGIES)
    return sum(array.nbytes for array in arrays if array is not None) + 8 * energies


def _by_kind(nodes: Iterable[Any]) -> dict[str, int]:
    """Bytes of the files of nodes by kind; a file that nodes share counts for the first of them."""
    repository = get_manager().get_profile_storage().get_repository()
    sizes = {**dict.fromkeys(KINDS.values(), 0), "other": 0}
    seen: set[str] = set()
    for node in sorted(nodes, key=lambda node: node.pk):
        creator = node.creator if isinstance(node, orm.Data) else None
        step = "" if creator is None else str(creator.process_type).replace(":hqe", "").rpartition(".")[2]
        for key in set(keys(node).values()) - seen:
            seen.add(key)
            with repository.open(key) as stream:
                sizes[KINDS.get(step, "other")] += stream.seek(0, 2)
    return sizes
