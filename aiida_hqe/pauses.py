"""What AiiDA has paused of a campaign: it waits until a user plays it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aiida import orm

from aiida_hqe.queries import ENDED


class Paused(NamedTuple):
    """A process that AiiDA has paused, as it does where a computer cannot be reached, and what it says about that."""

    pk: int
    step: str
    message: str

    @property
    def remedy(self) -> str:
        """One line: what happened, and what puts it right."""
        return f"paused: {self.step} <{self.pk}>: {self.message}; mend the cause, then `verdi process play {self.pk}`"


def paused(pk: int) -> list[Paused]:
    """Processes of campaign `pk`, itself included, that wait until a user plays them; oldest first."""
    query = orm.QueryBuilder()
    waiting = {"attributes.paused": True, "attributes.process_state": {"!in": sorted(ENDED)}}
    query.append(orm.ProcessNode, filters=waiting, project="*", tag="process").order_by({"process": "id"})
    found = [node for node in query.all(flat=True) if pk in {above.pk for above in _callers(node)}]
    return [
        Paused(node.pk, (node.process_type or "").rpartition(":")[2], " ".join((node.process_status or "").split()))
        for node in found
    ]


def _callers(node: orm.ProcessNode | None) -> Iterator[orm.ProcessNode]:
    """A process, the one that called it, the one that called that, ..."""
    while node is not None:
        yield node
        node = node.caller
