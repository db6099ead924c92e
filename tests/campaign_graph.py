"""The provenance of a small campaign of two rounds, stored by hand: its links and labels are those of a real one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from aiida import orm
from aiida.common import LinkType

from aiida_hqe import queries
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.hdf5 import write_predictions
from aiida_hqe.predictions import Prediction
from aiida_hqe.selection.calibration import calibrate

K = 4
FUNCTIONS = "aiida_hqe.calculations"
LEVEL_KEY = "0" * 64
THRESHOLD = 0.05


DOCUMENT: dict[str, Any] = {
    "name": "small", "selection": {"target_force_error": "0.1 eV/angstrom"}, "resources": {"threads": 2},
    "stop": {"iterations": 1},
}  # fmt: skip


@dataclasses.dataclass
class Graph:
    """The campaign and what a test wants to find again."""

    campaign: orm.WorkChainNode
    committee: CommitteeData
    first: Frames
    flagged: Frames
    label_jobs: list[orm.CalcJobNode]


def water(number: int, **info: Any) -> Frame:
    """An unlabelled water, a little different for each number, beside two charges."""
    positions = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0.001 * number]])
    charges = np.array([[3.0, 0, 0], [-3.0, 0.5, 0]])
    return Frame(
        numbers=[8, 1, 1], positions=positions, charge=0, spin=0, mm_numbers=[8, 1], mm_positions=charges,
        mm_charges=[-0.4, 0.4], info=info,
    )  # fmt: skip


def labelled(frame: Frame) -> Frame:
    """`frame` with energies, forces and a cost."""
    return frame.replace(
        environment_energy=-2000.0, environment_forces=np.zeros((3, 3)), environment_mm_forces=np.zeros((2, 3)), energy=-2001.0,
        info={**frame.info, "seconds": 2.0, "core_seconds": 0.5},
    )  # fmt: skip


def prediction(frame: Frame, spread: float) -> Prediction:
    """Four members that disagree by `spread` about the force on the oxygen."""
    forces = np.zeros((K, 3, 3))
    forces[:, 0, 0] = spread * np.array([0.5, 1.0, 1.5, 3.0])
    mm_forces, energies = np.zeros((K, 2, 3)), -2001.0 + spread * np.arange(K)
    return Prediction(
        frame=frame.hash, environment_energies=energies, environment_forces=forces, environment_mm_forces=mm_forces,
        energies=energies, forces=forces, mm_forces=mm_forces,
    )  # fmt: skip


def committee_file(directory: Path) -> Path:
    """A committee file without tensors: a header is all that its node reads."""
    document: dict[str, Any] = {
        "members": {str(number): {} for number in range(K)}, "elements": [1, 8], "levels": ["environment"],
        "force_level": "environment", "learn": "difference",
    }  # fmt: skip
    document["checksum"] = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    header = json.dumps({"__metadata__": {"hqe": json.dumps(document)}}).encode()
    path = directory / "committee.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


class Builder:
    """Stores processes and their links in the order in which a campaign makes them."""

    def __init__(self, directory: Path, computer: orm.Computer, document: dict[str, Any], **inputs: orm.Data) -> None:
        self.directory, self.computer = directory, computer
        campaign = orm.WorkChainNode(process_type=queries.CAMPAIGN, label=document["name"])
        for label, node in {"campaign": orm.Dict(document).store(), **inputs}.items():
            campaign.base.links.add_incoming(node, LinkType.INPUT_WORK, label)
        campaign.base.attributes.set("process_state", "running")
        self.campaign = campaign.store()
        self.processes: list[orm.ProcessNode] = [self.campaign]

    def _stored(self, node: Any) -> Any:
        self.processes.append(node.store())
        return node

    def work(self, name: str, label: str, **inputs: orm.Data) -> Any:
        node = orm.WorkChainNode(process_type=f"aiida.workflows:hqe.{name}")
        for key, data in inputs.items():
            node.base.links.add_incoming(data, LinkType.INPUT_WORK, key)
        node.base.attributes.set_many({"process_state": "finished", "exit_status": 0})
        node.base.links.add_incoming(self.campaign, LinkType.CALL_WORK, label)
        return self._stored(node)

    def job(self, name: str, caller: orm.WorkChainNode, label: str, **inputs: orm.Data) -> orm.CalcJobNode:
        node = orm.CalcJobNode(process_type=f"{queries.CALCULATION}{name}", computer=self.computer)
        node.set_options({"resources": {"num_machines": 1, "num_mpiprocs_per_machine": 1}})
        for key, data in inputs.items():
            node.base.links.add_incoming(data, LinkType.INPUT_CALC, key)
        node.base.links.add_incoming(caller, LinkType.CALL_CALC, label)
        node.base.attributes.set_many({"process_state": "finished", "exit_status": 0})
        return self._stored(node)

    def function(self, name: str, caller: orm.WorkChainNode | None = None, **inputs: orm.Data) -> orm.CalcFunctionNode:
        node = orm.CalcFunctionNode(process_type=f"{FUNCTIONS}.{name}")
        for key, data in inputs.items():
            node.base.links.add_incoming(data, LinkType.INPUT_CALC, key)
        node.base.links.add_incoming(caller or self.campaign, LinkType.CALL_CALC, name.rpartition(".")[2])
        node.base.attributes.set_many({"process_state": "finished", "exit_status": 0})
        return self._stored(node)

    @staticmethod
    def made(creator: orm.CalculationNode, label: str, data: Any) -> Any:
        data.base.links.add_incoming(creator, LinkType.CREATE, label)
        return data.store()

    def predictions(self, predictions: list[Prediction]) -> orm.SinglefileData:
        path = self.directory / "predictions.h5"
        write_predictions(path, predictions)
        return orm.SinglefileData(path)

    def divided(
        self,
        partition: orm.CalcFunctionNode,
        added_training: FramesData,
        added_held_out: FramesData | None,
        training_set: FramesData | None = None,
        held_out: FramesData | None = None,
    ) -> dict[str, FramesData]:
        """The sets after a round, of what was added to training and held-out set, and these before."""
        training = [part for part in (training_set, added_training) if part is not None]
        kept = [part for part in (held_out, added_held_out) if part is not None]
        sets = {"training_set": training, "held_out": kept, "labels": [*training, *kept]}
        made = {name: FramesData.join(nodes) for name, nodes in sets.items()} | {"added_training": added_training}
        if added_held_out is not None:
            made["added_held_out"] = added_held_out
        return {name: self.made(partition, name, node) for name, node in made.items()}

    def status(self, job: orm.CalcJobNode, seconds: float, **entries: Any) -> None:
        status = {"state": "finished", "seconds": seconds, "peak_memory": 300.0, "threads": 2}
        status["versions"] = {"pyscf": "2.14.0"}
        self.made(job, "status", orm.Dict(status | entries))

    def sample(self, number: int, frames: Frames, **inputs: orm.Data) -> FramesData:
        inputs["settings"] = self.made(self.function("settings.next_settings"), "sample", orm.Dict({"seed": number}))
        job = self.job("sample", self.work("sample", f"sample_{number:02d}"), "sample", **inputs)
        self.status(job, 10.0)
        return self.made(job, "frames", FramesData.from_frames(frames))

    def label(self, number: int, flagged: FramesData, done: Frames) -> tuple[orm.CalcJobNode, FramesData]:
        labelling = self.work("label", f"label_{number:02d}", frames=flagged)
        job = self.job("label", labelling, "batch_00", frames=flagged)
        self.status(job, 2.0 * len(done), **({"threads": 4} if number else {}))
        node = FramesData.from_frames(done)
        node.base.attributes.set_many({"level": LEVEL_KEY, "label_seconds": 2.0 * len(done)})
        self.made(job, "frames", node)
        gather = self.function("labelling.gather", labelling, flagged=flagged, frames_00=node)
        gathered = {"frames": node.subset(range(len(done)))}
        held, reason = set(node.hashes), {"error_kind": "convergence", "message": "no SCF"}
        missing = dict.fromkeys([key for key in flagged.hashes if key not in held], reason)
        if missing:
            self.made(job, "failed", orm.Dict(missing))
            gathered["failed"] = orm.Dict(missing)
        for label, output in gathered.items():
            self.made(gather, label, output).base.links.add_incoming(labelling, LinkType.RETURN, label)
        return job, node


def build(directory: Path, computer: orm.Computer, document: dict[str, Any] = DOCUMENT) -> Graph:
    """Round 0 labels six frames; round 1 flags three, of which one cannot be labelled; the campaign ends well."""
    builder = Builder(directory, computer, document)
    first = Frames(labelled(water(number, reason="first set", rank=number + 1, step=number)) for number in range(6))
    sampled = builder.sample(0, Frames(frame.unlabelled() for frame in first))
    select = builder.function("functions.select", frames=sampled)
    flagged = builder.made(select, "flagged", FramesData.from_frames(sampled.frames))
    job_0, labels_0 = builder.label(0, flagged, first)
    partition = builder.function("functions.partition", frames=labels_0)
    sets = builder.divided(partition, labels_0.subset(range(4)), labels_0.subset(range(4, 6)))
    training, held_out = sets["training_set"], sets["held_out"]
    training_work = builder.work("train", "train_00", frames=training)
    train = builder.job("train", training_work, "job_00", frames=training)
    builder.status(train, 30.0)
    part = builder.made(train, "committee", CommitteeData.from_file(committee_file(directory)))
    assemble = builder.function("functions.assemble", part_00=part)
    committee = builder.made(assemble, "result", CommitteeData.from_file(committee_file(directory)))
    committee.base.links.add_incoming(training_work, LinkType.RETURN, "committee")
    expected = [prediction(frame, 0.1) for frame in first]
    predict = builder.job("predict", builder.campaign, "held_out_00", committee=committee, frames=held_out)
    predictions = builder.made(predict, "predictions", builder.predictions(expected[4:]))
    fit = builder.function("functions.calibrate", frames=held_out, predictions=predictions)
    found = calibrate(held_out.frames, expected, 0.6).model_dump(mode="json")
    calibration = builder.made(fit, "calibration", orm.Dict(found))

    info = {"disagreement": 0.08, "bound": 0.16, "threshold": THRESHOLD, "reason": "uncertain"} | dict.fromkeys(
        [f"member_{number}" for number in range(K)], 0.08
    )
    second = Frames(water(10 + number, rank=number + 1, step=number, **info) for number in range(3))
    sampled = builder.sample(1, second, committee=committee)
    select = builder.function("functions.select", frames=sampled, calibration=calibration)
    flagged = builder.made(select, "flagged", FramesData.from_frames(second))
    job_1, labels_1 = builder.label(1, flagged, Frames(labelled(frame) for frame in second[:2]))
    predict = builder.job("predict", builder.campaign, "expect_01", committee=committee, frames=flagged)
    builder.made(predict, "predictions", builder.predictions([prediction(frame, 0.2) for frame in second]))

    partition = builder.function("functions.partition", frames=labels_1)
    sets = builder.divided(partition, labels_1.subset(range(2)), None, training, held_out)
    outputs = {"calibration": calibration, "committee": committee, "held_out": held_out, "labels": sets["labels"]}
    _finish(builder, outputs)
    return Graph(builder.campaign, committee, first, second, [job_0, job_1])


def _finish(builder: Builder, outputs: dict[str, orm.Data]) -> None:
    verdict = builder.made(
        builder.function("assessment.verdict"), "result", orm.Dict({"converged": False, "reason": "not converged"})
    )
    for label, node in {**outputs, "verdict": verdict}.items():
        node.base.links.add_incoming(builder.campaign, LinkType.RETURN, label)
    counts = {"sampled": 6, "uncertain": 6, "flagged": 6, "labelled": 6, "failed": 0, "uncertain_fraction": 1.0}
    errors = {
        "force_error": 0.2,
        "force_error_uncertainty": 0.01,
        "energy_error": 0.02,
        "coverage": 0.9,
        "raw_coverage": 0.5,
    }
    common = {
        "core_seconds": 3.0,
        "label_seconds": 12.0,
        "training_frames": 4,
        "held_out_frames": 2,
        "rank_correlation": 0.4,
    }
    rounds = [{"round": 0, "fresh_coverage": None, **counts, **errors, **common}]
    rounds.append(
        {**rounds[0], "round": 1, "sampled": 3, "flagged": 3, "labelled": 2, "failed": 1, "fresh_coverage": 0.5}
    )
    builder.campaign.base.extras.set_many({"hqe_rounds": rounds, "hqe_stage": "finished", "hqe_round": 1})
    builder.campaign.base.attributes.set_many({"process_state": "finished", "exit_status": 0})
    for node in builder.processes:
        node.seal()
