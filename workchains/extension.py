"""From an ended campaign to the inputs of one that goes on from its committee and labels."""

from __future__ import annotations

from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.workchains.submission import options


def builder_from_earlier(
    node: orm.WorkChainNode, iterations: int, code: orm.AbstractCode | None = None
) -> ProcessBuilder:
    """Builder of a campaign that goes on from where `node` ended, in whichever way, here or in another profile.

    It is given the last committee and all labels of `node`, divided as they were; it trains on from there, and samples with
    another seed.

    Parameters
    ----------
    node
        An ended campaign.
    iterations
        Rounds of the new campaign.
    code
        The code ``hqe-job``; that of `node` if not given.

    Raises
    ------
    InputError
        `node` has no labels.
    """
    from aiida_hqe.workchains.campaign import CampaignWorkChain

    found = last_state(node)
    if "labels" not in found:
        raise InputError(f"a campaign with labels was expected (campaign {node.pk} has none): submit its file anew")
    document = node.inputs.campaign.get_dict()
    document["stop"] = document["stop"] | {"iterations": iterations}
    document["seed"] = (document["seed"] + 1 + len(node.base.extras.get("hqe_rounds", []))) % 2**31
    campaign = Campaign.model_validate(document)
    builder = CampaignWorkChain.get_builder()
    builder.code = code or node.inputs.code
    builder.campaign = orm.Dict(campaign.model_dump(mode="json"))
    builder.files = node.inputs.files
    builder.threads = campaign.resources.threads
    builder.device = campaign.resources.device
    builder.options = options(campaign.resources)
    builder.metadata.label = campaign.name
    builder.frames = found["labels"]
    if {"committee", "held_out"} <= set(found):
        builder.committee, builder.held_out = found["committee"], found["held_out"]
    return builder


def last_state(node: orm.WorkChainNode) -> dict[str, Any]:
    """What a campaign had last: ``labels``, ``held_out`` and ``committee``, as far as it came; also of one that was killed."""
    found: dict[str, Any] = {}
    for name in ("labels", "held_out"):
        query = _called(
            node, orm.CalcFunctionNode, {"or": [{"process_type": {"like": f"%.{kind}"}} for kind in _DIVISIONS]}
        )
        query.append(FramesData, with_incoming="child", edge_filters={"label": name}, project="*")
        found[name] = query.first(flat=True)
    trained = {"process_type": "aiida.workflows:hqe.train", "attributes.exit_status": 0}
    query = _called(node, orm.WorkChainNode, trained)
    query.append(CommitteeData, with_incoming="child", edge_filters={"label": "committee"}, project="*")
    found["committee"] = query.first(flat=True)
    return {name: value for name, value in found.items() if value is not None}


_DIVISIONS = ("partition", "divide")


def _called(node: orm.WorkChainNode, kind: type[orm.ProcessNode], filters: dict[str, Any]) -> orm.QueryBuilder:
    """Query of the processes of a kind that `node` called, tagged ``child``, the newest first."""
    query = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": node.pk}, tag="campaign")
    query.append(kind, with_incoming="campaign", filters=filters, tag="child")
    query.order_by({"child": {"ctime": "desc"}})
    return query
