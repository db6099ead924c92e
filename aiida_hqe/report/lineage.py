"""Lineage of labelled frames: which committee flagged each, why, what it expected, and which calculations made the label."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from aiida import orm

from aiida_hqe import provenance, queries
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames

if TYPE_CHECKING:
    from aiida_hqe.predictions import Level, Prediction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flagging:
    """One selection of a campaign: which committee sampled, which calibration judged, what was flagged.

    Attributes
    ----------
    round
        0 for the first set, then 1, 2, ...
    committee, calibration
        Uuids; ``None`` for the first set.
    sampled, flagged
        Pks of the batches; `flagged` is ``None`` where nothing was.
    """

    round: int
    select: int
    sampled: int
    sampled_by: int
    flagged: int | None
    committee: str | None
    calibration: str | None


def flaggings(pk: int) -> list[Flagging]:
    """The selections of campaign `pk`, oldest first."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(
        orm.CalcFunctionNode,
        with_incoming="campaign",
        filters={"process_type": {"like": "%functions.select"}, "attributes.exit_status": 0},
        project="id",
        tag="select",
    )
    query.append(FramesData, with_outgoing="select", edge_filters={"label": "frames"}, project="id", tag="sampled")
    query.append(orm.CalculationNode, with_outgoing="sampled", project="id", tag="sampler")
    query.order_by({"select": {"ctime": "asc"}})
    rows = query.all()
    flagged = queries.linked([row[0] for row in rows], "flagged", project="id")
    calibrations = queries.linked([row[0] for row in rows], "calibration", project="uuid", inputs=True)
    committees = queries.linked([row[2] for row in rows], "committee", project="uuid", inputs=True)
    first = 1 if queries.linked([pk], "frames", project="id", inputs=True) else 0
    return [
        Flagging(
            round=number + first,
            select=select,
            sampled=sampled,
            sampled_by=sampler,
            flagged=flagged.get(select),
            committee=committees.get(sampler),
            calibration=calibrations.get(select),
        )
        for number, (select, sampled, sampler) in enumerate(rows)
    ]


def failures(pk: int) -> list[dict[str, Any]]:
    """Frames that campaign `pk` could not label in any job: frame, round, error_kind, message."""
    rounds = _rounds_of_flagged(pk)
    labelled = {frame.hash for _, frames in provenance.labels_of(pk) for frame in frames}
    jobs = [calculation.pk for calculation in queries.calculations(pk) if calculation.step == "label"]
    query = orm.QueryBuilder()
    query.append(orm.CalcJobNode, filters={"id": {"in": jobs or [-1]}}, tag="job")
    query.append(orm.Dict, with_incoming="job", edge_filters={"label": "failed"}, project="attributes")
    return [
        {"frame": frame, "round": rounds.get(frame), "kind": reason["error_kind"], "message": reason["message"]}
        for batch in query.all(flat=True)
        for frame, reason in batch.items()
        if frame not in labelled
    ]


def _rounds_of_flagged(pk: int) -> dict[str, int]:
    return {
        frame: item.round
        for item in flaggings(pk)
        if item.flagged is not None
        for frame in orm.load_node(item.flagged).hashes
    }


def held_out(pk: int) -> set[str]:
    """Beginnings of the hashes of the frames that campaign `pk` holds out of training."""
    query = orm.QueryBuilder()
    query.append(orm.WorkChainNode, filters={"id": pk}, tag="campaign")
    query.append(
        orm.CalcFunctionNode,
        with_incoming="campaign",
        filters={"or": [{"process_type": {"like": f"%functions.{name}"}} for name in ("partition", "divide")]},
        tag="division",
    )
    query.append(
        FramesData, with_incoming="division", edge_filters={"label": "added_held_out"}, project="attributes.index"
    )
    return {key for index in query.all(flat=True) for key in provenance.beginnings(index)}


def lineage(pk: int, prefix: str | None = None) -> list[dict[str, Any]]:
    """What is known of each labelled frame of campaign `pk`, by round and rank; frames that it was given come first.

    Parameters
    ----------
    pk
        The campaign.
    prefix
        Beginning of the hashes of the frames that are asked for; all of them, if not given.

    Returns
    -------
    list of dict
        ``frame`` (hash), ``campaign``, ``round``, ``reason``, ``rank``, ``committee`` and ``calibration`` (uuids), ``members``
        (deviation of each from the mean), ``disagreement``, ``threshold``, ``bound``, ``force_error`` (found once it was
        labelled), in eV/angstrom; ``energy``, ``environment_energy`` (eV); ``seconds``, ``core_seconds`` (s);
        ``used_for``; pks ``sampled_by``, ``selected_by``, ``expected_by``, ``labelled_by``. What does not apply is ``None``.
    """
    labelled = [(job, frame) for job, frames in provenance.labels_of(pk, prefix) for frame in frames]
    places: dict[str, tuple[Flagging, float | None, int | None]] = {}
    items = flaggings(pk)
    flagged = provenance.indices([item.flagged for item in items if item.flagged is not None])
    for item in items:
        here = [frame for _, frame in labelled if provenance.beginning(frame) in flagged.get(item.flagged or -1, ())]
        if here:
            expected_by, errors = _expected(item, here)
            places |= {frame.hash: (item, errors.get(frame.hash), expected_by) for frame in here}
    kept = held_out(pk)
    entries = [
        _entry(frame, pk, job, places.get(frame.hash), provenance.beginning(frame) in kept) for job, frame in labelled
    ]
    return sorted(entries, key=lambda entry: (-1 if entry["round"] is None else entry["round"], entry["rank"] or 0))


def _entry(
    frame: Frame, pk: int, job: int, place: tuple[Flagging, float | None, int | None] | None, is_held_out: bool
) -> dict[str, Any]:
    flagging, error, expected_by = place or (None, None, None)
    members = [frame.info[key] for number in range(len(frame.info)) if (key := f"member_{number}") in frame.info]
    copied = ("reason", "rank", "disagreement", "threshold", "bound", "step", "temperature", "seconds", "core_seconds")
    return {
        "frame": frame.hash,
        "campaign": pk,
        "round": flagging.round if flagging else None,
        "committee": flagging.committee if flagging else None,
        "calibration": flagging.calibration if flagging else None,
        "members": members or None,
        **{key: frame.info.get(key) for key in copied},
        "force_error": error,
        "energy": frame.energy,
        "environment_energy": frame.environment_energy,
        "used_for": "calibration (held out)" if is_held_out else "training",
        "sampled_by": flagging.sampled_by if flagging else None,
        "selected_by": flagging.select if flagging else None,
        "expected_by": expected_by,
        "labelled_by": job,
    }


def _expected(item: Flagging, labelled: list[Frame]) -> tuple[int | None, dict[str, float]]:
    """Job by which the committee of a flagging predicted the flagged frames, and its force errors once they were labelled."""
    from aiida_hqe.selection.residuals import force_errors

    query = orm.QueryBuilder()
    query.append(FramesData, filters={"id": item.flagged}, tag="flagged")
    query.append(
        orm.CalcJobNode,
        with_incoming="flagged",
        filters={"process_type": f"{queries.CALCULATION}predict", "attributes.exit_status": 0},
        project="id",
        tag="job",
    )
    query.append(CommitteeData, with_outgoing="job", filters={"uuid": item.committee or ""})
    found = query.first()
    if found is None or item.calibration is None:
        return None, {}
    (job,) = found
    predictions = _predictions(job)
    known = Frames(frame for frame in labelled if frame.hash in predictions)
    errors, _ = force_errors(known, [predictions[key] for key in known.hashes], _level(item.calibration))
    return job, dict(zip(known.hashes, errors.tolist(), strict=True))


@functools.lru_cache(maxsize=2)
def _predictions(job: int) -> dict[str, Prediction]:
    """What a predict job said, by the hash of the frame."""
    from aiida_hqe.hdf5 import read_predictions

    with orm.load_node(job).outputs.predictions.as_path() as path:
        return {prediction.frame: prediction for prediction in read_predictions(path)}


def _level(calibration: str) -> Level:
    """Level of the forces that a calibration (uuid) judges."""
    level: Level = orm.load_node(calibration).get_dict()["level"]
    return level


def members(item: dict[str, Any]) -> dict[str, Any]:
    """What each member of the committee that flagged a frame expected of it, before its label was known.

    Parameters
    ----------
    item
        An entry of `lineage`.

    Returns
    -------
    dict
        ``member_level`` (``environment`` or ``target``), ``member_forces`` (K, n_qm, 3) and ``member_mm_forces`` (K, n_mm, 3) of
        the K members, and ``atoms``, their spread on each QM atom (n_qm,), in eV/angstrom; each ``None`` where no committee
        judged the frame.
    """
    from aiida_hqe.selection.disagreement import per_atom

    if item["expected_by"] is None or item["calibration"] is None:
        return dict.fromkeys(("member_level", "member_forces", "member_mm_forces", "atoms"))
    prediction, level = _predictions(item["expected_by"])[item["frame"]], _level(item["calibration"])
    prefix = "environment_" if level == "environment" else ""
    forces, mm_forces = getattr(prediction, f"{prefix}forces"), getattr(prediction, f"{prefix}mm_forces")
    return {
        "member_level": level,
        "member_forces": forces.tolist(),
        "member_mm_forces": mm_forces.tolist(),
        "atoms": per_atom(forces).tolist(),
    }


def find(prefix: str) -> list[dict[str, Any]]:
    """Lineage of the labelled frame whose hash begins with `prefix`, in every campaign that labelled it, newest first.

    Raises
    ------
    InputError
        No labelled frame begins so, or more than one.
    """
    found = [item for pk in provenance.campaigns_that_labelled(prefix) for item in lineage(pk, prefix)]
    hashes = sorted({item["frame"] for item in found})
    if len(hashes) > 1:
        shown = ", ".join(frame[:12] for frame in hashes[:3])
        raise InputError(
            f"the hash of one labelled frame was expected ({prefix!r} begins {len(hashes)}, {shown}): give more"
        )
    if not hashes:
        raise InputError(
            f"the hash of a labelled frame, or its beginning, was expected (no campaign here labelled {prefix!r}):"
            " `aiida-hqe report PK` lists them"
        )
    return found
