"""Audit of a campaign: every node has its creator, every label its flag, every file its checksum; held-out frames stay so."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from aiida import orm

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import HQEError
from aiida_hqe.queries import CALCULATION, LABELLING

_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        ``creator``, ``flag``, ``checksum`` or ``held out``.
    node
        Uuid of the node it was found at.
    message
        What is wrong, in a line.
    """

    kind: str
    node: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: node {self.node}: {self.message}"


class Audit:
    """The graph of one campaign: its processes, and all data that went into them or came out.

    Parameters
    ----------
    campaign
        The campaign.
    """

    def __init__(self, campaign: orm.WorkChainNode) -> None:
        self.campaign = campaign
        self._hashes_of: dict[int, list[str]] = {}
        self._digests: dict[str, str] = {}
        self._read: set[str] = set()

    def faults(self) -> list[Fault]:
        """Everything that is wrong; empty for a sound campaign."""
        checks = (self.checksums(), self.creators(), self.flags(), self.held_out())
        return [fault for check in checks for fault in check]

    def counts(self) -> dict[str, int]:
        """How much was looked at."""
        files = sum(len(list(_objects(node))) for node in self.data.values())
        return {"processes": len(self.processes), "data": len(self.data), "files": files}

    @cached_property
    def processes(self) -> dict[int, orm.ProcessNode]:
        """The campaign and all that it called, by pk."""
        found: dict[int, orm.ProcessNode] = {}
        level = {self.campaign.pk: self.campaign}
        while level:
            found |= level
            query = orm.QueryBuilder().append(orm.WorkflowNode, filters={"id": {"in": list(level)}}, tag="caller")
            query.append(orm.ProcessNode, with_incoming="caller", project="*")
            level = {node.pk: node for node in query.all(flat=True) if node.pk not in found}
        return found

    @cached_property
    def data(self) -> dict[int, orm.Data]:
        """Every datum that one of the processes took or gave, by pk; codes and monitors are no data of a campaign."""
        found: dict[int, orm.Data] = {}
        for direction in ("with_outgoing", "with_incoming"):
            query = orm.QueryBuilder()
            query.append(orm.ProcessNode, filters={"id": {"in": list(self.processes)}}, tag="process")
            query.append(
                orm.Data, project="*", edge_filters={"label": {"!like": "monitors%"}}, **{direction: "process"}
            )
            found |= {node.pk: node for node in query.all(flat=True) if not isinstance(node, orm.AbstractCode)}
        return found

    @cached_property
    def declared(self) -> dict[str, int]:
        """Inputs of the campaign itself: pk by label."""
        return {link.link_label: link.node.pk for link in self.campaign.base.links.get_incoming()}

    def creators(self) -> Iterator[Fault]:
        """Data that nobody made, but for the declared inputs."""
        query = orm.QueryBuilder().append(orm.CalculationNode, tag="creator")
        query.append(orm.Data, with_incoming="creator", filters={"id": {"in": list(self.data)}}, project="id")
        known = {*query.all(flat=True), *self.declared.values()}
        for pk, node in sorted(self.data.items()):
            if pk not in known:
                yield Fault("creator", node.uuid, f"a {type(node).__name__} <{pk}> that no process made")

    def flags(self) -> Iterator[Fault]:
        """Labels that no selection had asked for, and flagged frames that were neither labelled nor quarantined."""
        asked: set[str] = set()
        for node in self._processes_of(LABELLING):
            flagged = node.inputs.frames
            maker = flagged.creator
            if maker is None or not str(maker.process_type).endswith(".select"):
                yield Fault("flag", node.uuid, f"labelling <{node.pk}> was given frames that no selection flagged")
            wanted = set(self.hashes(flagged))
            asked |= wanted
            yield from self._accounted(node, wanted)
        given = {key for label in ("frames", "held_out") for key in self._hashes(self.declared.get(label))}
        labels = self._output("labels")
        for key in [] if labels is None else self.hashes(labels):
            if key not in asked | given:
                yield Fault("flag", labels.uuid, f"the label of frame {key[:12]} was never asked for")

    def _accounted(self, node: orm.ProcessNode, wanted: set[str]) -> Iterator[Fault]:
        labelled = set(self._hashes(self._output_pk(node, "frames")))
        failed = self._output_pk(node, "failed")
        quarantined = set() if failed is None else set(self.data[failed].get_dict())
        for key in sorted((labelled | quarantined) - wanted):
            yield Fault("flag", node.uuid, f"frame {key[:12]} was labelled without having been flagged")
        for key in sorted(wanted - labelled - quarantined) if node.is_finished else ():
            yield Fault("flag", node.uuid, f"flagged frame {key[:12]} was dropped: neither labelled nor quarantined")

    def checksums(self) -> Iterator[Fault]:
        """Files that are not what they were when they were stored, and frames or committees whose own checksum disagrees."""
        for pk, node in sorted(self.data.items()):
            damaged = [name for name, key in _objects(node) if self._digest(node, name, key) != key]
            yield from (
                Fault("checksum", node.uuid, f"file {name} of <{pk}> is not what was stored") for name in damaged
            )
            if damaged or not isinstance(node, (FramesData, CommitteeData)):
                continue
            try:
                _check_content(node, self._read)
            except HQEError as error:
                yield Fault("checksum", node.uuid, " ".join(str(error).split()))

    def _digest(self, node: orm.Data, name: str, key: str) -> str:
        """SHA-256 of a file of a node; a file that several nodes share is read once."""
        if key not in self._digests:
            self._digests[key] = _digest(node, name)
        return self._digests[key]

    def held_out(self) -> Iterator[Fault]:
        """Held-out frames that a committee of this campaign, or one that it went on from, was trained on."""
        node = self._output("held_out")
        if node is None:
            return
        kept = set(self.hashes(node))
        for pk, (job, uuid) in sorted(self._training().items()):
            for key in sorted(kept.intersection(self._hashes(pk))):
                yield Fault("held out", uuid, f"held-out frame {key[:12]} was trained on by job <{job}>")

    def _training(self) -> dict[int, tuple[int, str]]:
        """Batches that were trained on, with the pk and uuid of a job that did."""
        train = {"process_type": f"{CALCULATION}train"}
        found: dict[int, tuple[int, str]] = {}
        own = orm.QueryBuilder().append(
            orm.CalcJobNode, filters={**train, "id": {"in": list(self.processes)}}, tag="job", project=["id", "uuid"]
        )
        queries = [own]
        if "committee" in self.declared:
            before = orm.QueryBuilder()
            before.append(CommitteeData, filters={"id": self.declared["committee"]}, tag="committee")
            before.append(
                orm.CalcJobNode, with_descendants="committee", filters=train, tag="job", project=["id", "uuid"]
            )
            queries.append(before)
        for query in queries:
            query.append(FramesData, with_outgoing="job", edge_filters={"label": "frames"}, project="*")
            for job, uuid, frames in query.all():
                self.data.setdefault(frames.pk, frames)
                found[frames.pk] = (job, uuid)
        return found

    def hashes(self, node: Any) -> list[str]:
        """Hashes of the frames of a node, read once; none where its files are damaged, which `checksums` tells."""
        if node.pk not in self._hashes_of:
            try:
                self._hashes_of[node.pk] = node.hashes
            except HQEError:
                self._hashes_of[node.pk] = []
        return self._hashes_of[node.pk]

    def _processes_of(self, kind: str) -> list[orm.ProcessNode]:
        return [node for pk, node in sorted(self.processes.items()) if node.process_type == kind]

    def _hashes(self, pk: int | None) -> list[str]:
        return [] if pk is None else self.hashes(self.data[pk])

    def _output(self, label: str) -> Any:
        pk = self._output_pk(self.campaign, label)
        return None if pk is None else self.data[pk]

    @staticmethod
    def _output_pk(node: orm.ProcessNode, label: str) -> int | None:
        links = node.base.links.get_outgoing(link_label_filter=label, node_class=orm.Data)
        return next((int(link.node.pk) for link in links), None)


def audit(campaign: orm.WorkChainNode) -> list[Fault]:
    """What is wrong with the graph of a campaign; nothing, for a sound one."""
    return Audit(campaign).faults()


def _objects(node: orm.Data) -> Iterator[tuple[str, str]]:
    """Name and key of each file of a node; the key is the SHA-256 of what was stored."""

    def walk(entries: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
        for name, entry in entries.get("o", {}).items():
            if "k" in entry:
                yield path + name, entry["k"]
            else:
                yield from walk(entry, f"{path}{name}/")

    yield from walk(node.base.repository.metadata or {}, "")


def _digest(node: orm.Data, name: str) -> str:
    """SHA-256 of a file in the repository; empty where it is gone."""
    digest = hashlib.sha256()
    try:
        with node.base.repository.open(name, "rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _check_content(node: FramesData | CommitteeData, read: set[str]) -> None:
    """Raise `HQEError` where the checksum inside a file disagrees with its content; files of frames in `read` are known."""
    if isinstance(node, FramesData):
        node.check(read)
        return
    from aiida_hqe.data.merging import merge_files

    with node.as_path() as path, tempfile.TemporaryDirectory() as directory:
        merge_files([path], Path(directory) / path.name)
