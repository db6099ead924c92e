"""From a campaign and its folder to the inputs of a `CampaignWorkChain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida.engine import ProcessBuilder, WorkChain
from aiida.orm import AbstractCode, Dict, FolderData
from pydantic import ValidationError

from aiida_hqe.campaign import protocols
from aiida_hqe.campaign.check import campaign_files
from aiida_hqe.campaign.schema import Campaign, Resources
from aiida_hqe.errors import InputError


def builder_from_campaign(
    process: type[WorkChain], code: AbstractCode, campaign: Campaign, directory: Path
) -> ProcessBuilder:
    """Builder of `process` for a campaign whose paths are relative to `directory`.

    Raises
    ------
    InputError
        The campaign's topology is no file of `directory`.
    """
    builder = process.get_builder()
    builder.code = code
    builder.campaign = Dict(campaign.model_dump(mode="json"))
    builder.files = folder(campaign, directory)
    builder.threads = campaign.resources.threads
    builder.device = campaign.resources.device
    builder.options = options(campaign.resources)
    builder.metadata.label = campaign.name
    return builder


def resolved(system: Mapping[str, Any], protocol: str, overrides: Mapping[str, Any]) -> Campaign:
    """Campaign of a system section, a protocol, and what overrides it.

    Raises
    ------
    InputError
        The protocol is unknown, or an entry is wrong.
    """
    data = protocols.resolve({**overrides, "system": dict(system), "protocol": protocol})
    try:
        return Campaign.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{key}: {first['msg']} (got {first['input']!r}): correct this entry", key) from error


def folder(campaign: Campaign, directory: Path) -> FolderData:
    """The files that a campaign's system names, under their names in it."""
    found = campaign_files(campaign.system, directory)
    if campaign.system.topology not in found:
        raise InputError(
            f"a file was expected (got no file {directory / campaign.system.topology}): correct the path",
            "system.topology",
        )
    node = FolderData()
    for name, path in sorted(found.items()):
        node.base.repository.put_object_from_file(str(path.absolute()), name)
    return node


def options(resources: Resources) -> dict[str, Any]:
    """Options of each job."""
    chosen: dict[str, Any] = {"max_wallclock_seconds": int(resources.walltime)}
    if resources.memory is not None:
        chosen["max_memory_kb"] = int(resources.memory * 1000)
    return chosen
