"""From a campaign in AiiDA to its `CampaignRecord`."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida import orm

from aiida_hqe import queries
from aiida_hqe.data.frames import FramesData
from aiida_hqe.report import lineage
from aiida_hqe.report.record import CampaignRecord, Cost, Failure, LearningPoint, Parity, Selection
from aiida_hqe.units import parse_quantity


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
        created=f"{state.created:%Y-%m-%d %H:%M:%S}",
        finished=f"{state.modified:%Y-%m-%d %H:%M:%S}",
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
        selections=[_selection(item) for item in lineage.flaggings(pk)],
        failures=[Failure(**item) for item in lineage.failures(pk)],
        costs=costs,
        lineage=lineage.lineage(pk),
        labels_reused=queries.reused_labels(pk)[0],
        **_jobs(pk),
    )


def _costs(pk: int) -> list[Cost]:
    threads = queries.threads(pk)
    return [
        Cost(
            round=number,
            step=step,
            jobs=len(jobs),
            core_seconds=threads * sum(job.seconds for job in jobs),
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
    from aiida_hqe.hdf5 import read_predictions

    with node.as_path() as path:
        predictions = {prediction.frame: prediction for prediction in read_predictions(path)}
    frames = [frame for frame in held_out.frames if frame.hash in predictions]

    def forces(name: str) -> tuple[list[float], list[float]]:
        labels = [getattr(frame, prefix + name) for frame in frames]
        means = [getattr(predictions[frame.hash], prefix + name).mean(axis=0) for frame in frames]
        return _flat(labels), _flat(means)

    with_energy = [frame for frame in frames if frame.energy is not None]
    energies = (
        [float(frame.energy or 0.0) for frame in with_energy],
        [predictions[frame.hash].energy for frame in with_energy],
    )
    return Parity(energies=energies, forces=forces("forces"), mm_forces=forces("mm_forces"))


def _flat(arrays: list[Any]) -> list[float]:
    return [float(value) for array in arrays for value in np.ravel(array)]


def _selection(item: lineage.Flagging) -> Selection:
    sampled = _disagreements(item.sampled)
    flagged = [] if item.flagged is None else orm.load_node(item.flagged).frames
    thresholds = [float(frame.info["threshold"]) for frame in flagged if "threshold" in frame.info]
    return Selection(
        round=item.round,
        disagreements=sampled,
        flagged=[] if item.flagged is None else _disagreements(item.flagged),
        threshold=thresholds[0] if thresholds else None,
    )


def _disagreements(pk: int) -> list[float]:
    frames = orm.load_node(pk).frames
    return [float(frame.info["disagreement"]) for frame in frames if "disagreement" in frame.info]
