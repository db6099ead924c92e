"""A worker killed in the middle of a step leaves children; the next one, which begins the step anew, takes up what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import ProcessState

from aiida_hqe.workchains.resumption import end_cut_off, submitted_before

UNENDED = [None, ProcessState.CREATED, ProcessState.RUNNING, ProcessState.WAITING]
ENDED = [ProcessState.FINISHED, ProcessState.EXCEPTED, ProcessState.KILLED]
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def chain(aiida_profile: Any) -> orm.WorkChainNode:
    return orm.WorkChainNode().store()


def called(chain: orm.WorkChainNode, kind: type[orm.ProcessNode], state: ProcessState | None, label: str = "x") -> Any:
    """A child of `chain` in a state."""
    node = kind()
    work = isinstance(node, orm.WorkflowNode)
    node.base.links.add_incoming(chain, LinkType.CALL_WORK if work else LinkType.CALL_CALC, label)
    node.store()
    if state is not None:
        node.set_process_state(state)
    return node


@pytest.mark.parametrize("kind", [orm.CalcFunctionNode, orm.CalcJobNode, orm.WorkChainNode])
@pytest.mark.parametrize("state", [*UNENDED, *ENDED])
def test_functions_that_had_not_ended_and_children_that_nobody_had_begun_are_marked_and_no_others(
    chain: orm.WorkChainNode, kind: type[orm.ProcessNode], state: ProcessState | None
) -> None:
    child, other = called(chain, kind, state), called(orm.WorkChainNode().store(), kind, state)
    end_cut_off(chain, ())
    marked = state in UNENDED if kind is orm.CalcFunctionNode else state in UNENDED[:2]
    assert child.process_state is (ProcessState.KILLED if marked else state)
    assert child.is_sealed == marked
    assert ("cut off" in (child.process_status or "")) == marked
    assert other.process_state is state  # of another chain


def test_a_child_that_the_chain_waits_for_keeps_its_place_in_the_queue(chain: orm.WorkChainNode) -> None:
    child = called(chain, orm.CalcJobNode, ProcessState.CREATED)
    end_cut_off(chain, {child.pk})
    assert child.process_state is ProcessState.CREATED


def test_nobody_can_begin_a_child_that_was_marked(chain: orm.WorkChainNode) -> None:
    from aiida.common.exceptions import ModificationNotAllowed

    child = called(chain, orm.CalcJobNode, ProcessState.CREATED)
    end_cut_off(chain, ())
    with pytest.raises(ModificationNotAllowed):
        orm.load_node(child.pk).set_process_state(ProcessState.RUNNING)


@pytest.mark.parametrize("kind", [orm.CalcJobNode, orm.WorkChainNode])
@pytest.mark.parametrize("state", [ProcessState.RUNNING, ProcessState.WAITING, *ENDED[:2]])
def test_a_child_that_runs_or_ended_is_taken_up_under_its_label(
    chain: orm.WorkChainNode, kind: type[orm.ProcessNode], state: ProcessState
) -> None:
    label = f"{kind.__name__}_{state.value}"
    child = called(chain, kind, state, label)
    assert submitted_before(chain, {}, label).uuid == child.uuid
    assert submitted_before(chain, {}, "y") is None
    assert submitted_before(orm.WorkChainNode().store(), {}, label) is None


def test_a_child_that_was_killed_is_submitted_anew(chain: orm.WorkChainNode) -> None:
    called(chain, orm.CalcJobNode, ProcessState.KILLED, "killed")
    assert submitted_before(chain, {}, "killed") is None


@pytest.mark.parametrize("attempts", [0, 1, 3])
@pytest.mark.parametrize("begun", [False, True])
def test_attempts_that_the_context_holds_are_not_taken_for_one_that_was_cut_off(
    aiida_profile: Any, attempts: int, begun: bool
) -> None:
    chain = orm.WorkChainNode().store()
    known = [called(chain, orm.CalcJobNode, ProcessState.FINISHED, "sample") for _ in range(attempts)]
    more = called(chain, orm.CalcJobNode, ProcessState.WAITING, "sample") if begun else None
    found = submitted_before(chain, {"sampling": known, "round": 3, "nothing": None}, "sample")
    assert (found and found.uuid) == (more and more.uuid)
    if known:
        single = {"sampling": known[0], "others": known[1:]}
        found = submitted_before(chain, single, "sample")
        assert (found and found.uuid) == (more and more.uuid)


def test_a_workchain_that_begins_a_step_anew_submits_nothing_twice(hqe_code: Any, cheap_builder: Call) -> None:
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager
    from plumpy.persistence import Bundle, LoadSaveContext

    process = instantiate_process(get_manager().get_runner(), cheap_builder())
    saved = Bundle(process)
    job = called(process.node, orm.WorkChainNode, ProcessState.WAITING, "sample_00")
    function = called(process.node, orm.CalcFunctionNode, ProcessState.RUNNING, "CALL")
    again = saved.unbundle(LoadSaveContext(runner=get_manager().get_runner()))
    assert function.is_killed
    assert again.submit(None, again.child("sample_00")).uuid == job.uuid
    assert job.process_state is ProcessState.WAITING
