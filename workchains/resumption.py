"""What a worker that was killed in the middle of a step leaves, and what the next one, which begins the step anew, does with it.

AiiDA writes down a workchain between steps. What a step called has nodes by then: a job may run already, though the workchain
does not know it; a calcfunction ended with the worker that ran it, though its node says for ever that it is running.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from aiida.common.links import LinkType
from aiida.engine import ProcessState
from aiida.orm import CalcFunctionNode, ProcessNode, QueryBuilder, WorkChainNode

ENDED = [state.value for state in (ProcessState.FINISHED, ProcessState.EXCEPTED, ProcessState.KILLED)]
"""States of processes that have ended, as nodes hold them."""


def end_cut_off(chain: WorkChainNode, awaited: Collection[int | None]) -> None:
    """Mark what `chain` called and nobody will run: functions that had not ended, and children that nobody had begun.

    Such a child may have no task in the queue. If it has one, that is refused from now on; the step submits another child.

    Parameters
    ----------
    awaited
        Pks of the children of the last step that was ended: those are in the queue.
    """
    query = QueryBuilder().append(WorkChainNode, filters={"id": chain.pk}, tag="chain")
    unfinished = {"or": [{"attributes.process_state": {"!in": ENDED}}, {"attributes": {"!has_key": "process_state"}}]}
    query.append(ProcessNode, with_incoming="chain", filters=unfinished)
    for node in query.all(flat=True):
        begun = node.process_state not in (None, ProcessState.CREATED)
        if node.pk not in awaited and (isinstance(node, CalcFunctionNode) or not begun):
            node.set_process_state(ProcessState.KILLED)
            node.set_process_status("cut off with the worker that was killed; its work chain begins the step anew")
            node.seal()


def submitted_before(chain: WorkChainNode, context: dict[str, Any], label: str) -> ProcessNode | None:
    """The child under a link label that this step had submitted before its worker was killed: `context` holds all others."""
    known = {
        node.uuid
        for value in context.values()
        for node in (value if isinstance(value, list) else [value])
        if isinstance(node, ProcessNode)
    }
    links = (LinkType.CALL_CALC, LinkType.CALL_WORK)
    called = chain.base.links.get_outgoing(link_type=links, link_label_filter=label).all_nodes()
    return next((node for node in called if node.uuid not in known and not node.is_killed), None)
