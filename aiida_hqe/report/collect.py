"""From a campaign in AiiDA to its `CampaignRecord`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from aiida import orm

from aiida_hqe import queries
from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frame
from aiida_hqe.report import lineage
from aiida_hqe.report.record import CampaignRecord, Cost, Failure, LearningPoint, Parity, Selection
from aiida_hqe.units import parse_quantity

MAP_FRAMES = 2000
"""About the most sampled, and the most flagged, frames that the landscape shows; of more, every second, third, ... is taken."""


def collect(node: orm.WorkChainNode) -> CampaignRecord:
    """Everything that the page shows of a campaign, as far as it has come."""
    pk = node.pk
    state = queries.state(pk)
    document = node.inputs.campaign.get_dict()
    costs = _costs(pk)
    return CampaignRecord(
        pk=pk,
        uuid=state.uuid,
        name=document["name"],
        created=_universal(state.created),
        finished=_universal(state.modified),
        seconds=(state.modified - state.created).total_seconds(),
        process_state=state.process_state,
        exit_status=state.exit_status,
        verdict=state.verdict or {"converged": False, "reason": state.exit_message or ""},
        campaign=document,
        rounds=[_with_cost(item, costs) for item in state.rounds],
        target_force_error=parse_quantity(document["selection"]["target_force_error"], "force"),
        learning_curve=_learning_curve(pk),
        calibration=queries.output_dict(pk, "calibration"),
        parity=_parity(pk),
        failures=[Failure(**item) for item in lineage.failures(pk)],
        costs=costs,
        lineage=lineage.lineage(pk),
        labels_reused=queries.reused_labels(pk)[0],
        **_selections(pk),
        **_jobs(pk),
    )


def _universal(time: datetime) -> str:
    """A time in UTC, wherever database and reader are."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _costs(pk: int) -> list[Cost]:
    return [
        Cost(
            round=number,
            step=step,
            jobs=len(jobs),
            core_seconds=sum(job.core_seconds for job in jobs),
            cached=sum(job.cached for job in jobs),
        )
        for (number, step), jobs in queries.jobs_by_step(pk).items()
    ]


def _with_cost(item: dict[str, Any], costs: list[Cost]) -> dict[str, Any]:
    """Assessment of a round with the cost of all its jobs, not of its labels alone."""
    total = sum(cost.core_seconds for cost in costs if cost.round == item["round"])
    return {**item, "core_seconds": total, "quantum_core_seconds": item["core_seconds"]}


def _jobs(pk: int) -> dict[str, Any]:
    """Versions that the jobs report, and the most memory that one of them took (MB)."""
    jobs = queries.calculations(pk)
    versions = {name: version for job in jobs for name, version in job.status.get("versions", {}).items()}
    process = orm.load_node(pk).base.attributes.get("version", {})
    versions |= {"aiida-core": process["core"]} if "core" in process else {}
    return {"versions": versions, "peak_memory": max((job.status.get("peak_memory", 0.0) for job in jobs), default=0.0)}


def _learning_curve(pk: int) -> list[LearningPoint]:
    curve = queries.output_dict(pk, "learning_curve") or {"rounds": []}
    return [
        LearningPoint(
            round=point["round"],
            training_frames=point["training_frames"],
            force_error=point["force_error"],
            force_error_uncertainty=point["force_error_uncertainty"],
            member_errors=point["member_force_errors"],
            energy_error=point["energy_error"],
        )
        for point in curve["rounds"]
    ]


def _parity(pk: int) -> Parity | None:
    """The pairs that the last calibration compared."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(
        orm.Dict, with_incoming="campaign", edge_filters={"label": "calibration"}, project="attributes.level", tag="k"
    )
    query.append(orm.CalcFunctionNode, with_outgoing="k", tag="calibrate")
    query.append(FramesData, with_outgoing="calibrate", project="*")
    query.append(orm.SinglefileData, with_outgoing="calibrate", edge_filters={"label": "predictions"}, project="*")
    found = query.first()
    if found is None:
        return None
    level, held_out, predictions = found
    return _pairs(held_out, predictions, "" if level == "target" else "environment_")


def _pairs(held_out: FramesData, node: orm.SinglefileData, prefix: str) -> Parity:
    """Energies of all held-out frames, forces of the first ones."""
    from aiida_hqe.calculations.functions import residuals_of
    from aiida_hqe.selection.residuals import SHOWN

    found, frames = residuals_of(held_out, node), held_out.frames
    labelled = [(energy, frame.energy) for energy, frame in zip(found.energies, frames, strict=True)]
    energies = [(float(label), float(energy)) for energy, label in labelled if label is not None]

    def forces(name: str, said: list[Any]) -> tuple[list[float], list[float]]:
        return _flat([getattr(frame, prefix + name) for frame in frames[:SHOWN]]), _flat(said)

    return Parity(
        energies=([label for label, _ in energies], [energy for _, energy in energies]),
        forces=forces("forces", found.shown_forces),
        mm_forces=forces("mm_forces", found.shown_mm_forces),
    )


def _flat(arrays: list[Any]) -> list[float]:
    return [float(value) for array in arrays for value in np.ravel(array)]


def _selections(pk: int) -> dict[str, Any]:
    """What each round sampled and flagged, and where that lies in the landscape of all rounds.

    Of the sampled frames only those in the landscape are read, of the others their disagreements.
    """
    from aiida_hqe.selection.landscape import landscape

    items = lineage.flaggings(pk)
    sampled = [orm.load_node(item.sampled) for item in items]
    flagged = [None if item.flagged is None else orm.load_node(item.flagged) for item in items]
    stride = 1 + sum(node.n_frames for node in sampled) // MAP_FRAMES
    of_flagged = 1 + sum(node.n_frames for node in flagged if node is not None) // MAP_FRAMES
    shown = [_every(node, stride) for node in sampled] + [_every(node, of_flagged) for node in flagged]
    plane = landscape(shown)
    places = plane.places if plane else [np.zeros((0, 2))] * (2 * len(items))
    selections = [_selection(*row) for row in zip(items, sampled, flagged, places, places[len(items) :], strict=False)]
    return {"selections": selections, "landscape": plane.explained if plane else None}


def _every(node: FramesData | None, stride: int) -> Sequence[Frame]:
    """Each `stride`-th frame of a batch."""
    return [] if node is None else node.take(range(0, node.n_frames, stride))


def _selection(
    item: lineage.Flagging, sampled: FramesData, flagged: FramesData | None, places: Any, labelled_places: Any
) -> Selection:
    infos = [] if flagged is None else flagged.infos
    thresholds = [float(info["threshold"]) for info in infos if "threshold" in info]
    return Selection(
        round=item.round,
        disagreements=_disagreements(sampled.infos),
        flagged=_disagreements(infos),
        threshold=thresholds[0] if thresholds else None,
        places=places.round(4).tolist(),
        labelled_places=labelled_places.round(4).tolist(),
    )


def _disagreements(infos: Sequence[Mapping[str, Any]]) -> list[float]:
    return [float(info["disagreement"]) for info in infos if "disagreement" in info]
