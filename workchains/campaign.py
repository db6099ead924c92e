"""`CampaignWorkChain`: sample, flag what is uncertain, label that and nothing else, retrain; until the error is as asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida.engine import ProcessBuilder, ToContext, if_, while_
from aiida.orm import AbstractCode, Dict, FolderData
from aiida.plugins import CalculationFactory, WorkflowFactory

from aiida_hqe.calculations.assessment import assess, learning_curve, reason_to_stop, stopped, verdict
from aiida_hqe.calculations.base import valid
from aiida_hqe.calculations.functions import divide, partition, select
from aiida_hqe.calculations.settings import first_settings, next_settings
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.workchains.base import HQEWorkChain, ending, given, outputs
from aiida_hqe.workchains.submission import builder_from_campaign, resolved

STOP = "hqe_stop"
"""Extra that asks a running campaign to end at its next step."""


class CampaignWorkChain(HQEWorkChain):
    """A whole active-learning campaign.

    Round 0 samples with the force field and labels all of it; each later round samples with the committee of the round before,
    labels the flagged frames, and retrains. Where it ends early, the outputs hold what there is.
    """

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports, outline and exit codes."""
        super().define(spec)
        spec.input("campaign", valid_type=Dict, validator=valid(Campaign), help="The campaign file, validated.")
        spec.input("files", valid_type=FolderData, help="The files that its system names.")
        spec.input("frames", valid_type=FramesData, required=False, help="Labelled frames to start from.")
        spec.input(
            "held_out", valid_type=FramesData, required=False, help="Those of `frames` that `committee` never saw."
        )
        spec.input("committee", valid_type=CommitteeData, required=False, help="Committee to train on from at first.")
        spec.outline(
            cls.start,
            while_(cls.goes_on)(
                if_(cls.needs_sample)(cls.sample, cls.select),
                if_(cls.has_flagged)(cls.label, while_(cls.tries_expectation)(cls.expect), cls.quarantine),
                if_(cls.has_labels)(cls.partition, if_(cls.trains)(cls.train)),
                cls.assess,
            ),
            while_(cls.tries_comparison)(cls.predict),
            cls.conclude,
        )
        spec.inputs.validator = _starts_completely
        _define_outputs(spec)
        _define_exit_codes(spec)

    @classmethod
    def get_builder_from_campaign(cls, code: AbstractCode, campaign: Campaign, directory: Path) -> ProcessBuilder:
        """Builder of a checked campaign whose paths are relative to `directory`."""
        return builder_from_campaign(cls, code, campaign, directory)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        system: Mapping[str, Any],
        directory: Path,
        protocol: str = "fast",
        overrides: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """Builder of a campaign of a protocol.

        Parameters
        ----------
        code
            The code ``hqe-job``.
        system
            The ``system`` section of a campaign file; its paths are relative to `directory`.
        protocol
            ``fast``, ``balanced`` or ``stringent``.
        overrides
            Other sections, or entries of them; they win over the protocol.

        Raises
        ------
        InputError
            The protocol is unknown, or an entry is wrong.
        """
        return builder_from_campaign(cls, code, resolved(system, protocol, overrides or {}), directory)

    def start(self) -> None:
        """Derive the settings of round 0."""
        self.ctx.plan = self.inputs.campaign.get_dict()
        self.ctx.settings = first_settings(self.inputs.campaign)
        self.ctx.batches = self.ctx.settings["batches"]
        self.ctx.level = self.ctx.settings["level"]
        self.ctx.failures = {}
        self.ctx.sets = {}
        self.ctx.trained = {}
        self.ctx.assessments = []
        self.ctx.committees = []
        self.ctx.assembly = self.ctx.cause = None
        self.ctx.untrained = False
        self.node.base.extras.set_many({"hqe_rounds": [], "hqe_round": 0, "hqe_done": 0, "hqe_total": 0})

    def goes_on(self) -> bool:
        """Whether another round begins; its settings are derived here."""
        if not self.ctx.assessments:
            self._begin()
            return True
        last = self.ctx.assessments[-1]
        self.ctx.cause = None
        if reason_to_stop(Campaign.model_validate(self.ctx.plan), last.get_dict()) is not None:
            return False
        if self._stopped:
            self.ctx.cause = stopped(self.ctx.settings["round"])
            return False
        self.ctx.settings = next_settings(self.inputs.campaign, last, self.ctx.trained["calibration"])
        self._begin()
        return True

    def needs_sample(self) -> bool:
        """Whether this round samples: every one does, but a first round that was given labels."""
        return self._round > 0 or "frames" not in self.inputs

    def sample(self) -> Any:
        """Sample: with the force field, then with the last committee."""
        self._progress("sampling")
        inputs = {"settings": self.ctx.settings["sample"], "committee": self.ctx.trained.get("committee")}
        if self.ctx.assembly is None:
            inputs |= {"prepare": self.ctx.first["prepare"], "files": self.inputs.files}
        else:
            inputs |= {"assembly": self.ctx.assembly}
        return ToContext(
            sampling=self.submit(WorkflowFactory("hqe.sample"), self.child(self._name("sample"), **inputs))
        )

    def select(self) -> Any:
        """Flag the frames that are worth a label."""
        sampling = self.ctx.sampling
        if not sampling.is_finished_ok:
            at_once = sampling.exit_status == 410
            return self._end("ERROR_UNTRUSTED_AT_ONCE" if at_once else "ERROR_SAMPLING", ending(sampling))
        self._progress("selecting")
        self.ctx.assembly = sampling.outputs.assembly
        known = {
            f"labelled_{name}": node for name, node in self.ctx.sets.items() if name != "labels"
        } | self.ctx.failures
        calibration = self.ctx.trained.get("calibration")
        self.ctx.selected = select(sampling.outputs.frames, self.ctx.settings["select"], calibration, **known)
        return None

    def has_flagged(self) -> bool:
        """Whether any frame is to be labelled, and the user has not asked for the end."""
        return "flagged" in self.ctx.selected and not self._stopped

    def label(self) -> Any:
        """Label the flagged frames; meanwhile the committee says what it expects of them."""
        flagged = self.ctx.selected["flagged"]
        self._progress("labelling", total=flagged.n_frames)
        inputs = self.child(self._name("label"), frames=flagged, level=self.ctx.level, batches=self.ctx.batches)
        if "committee" in self.ctx.trained:
            self.expect()
        return ToContext(labelling=self.submit(WorkflowFactory("hqe.label"), inputs))

    def tries_expectation(self) -> bool:
        """Whether the machine ended the job that says what the committee expects."""
        return bool(self.ctx.expectation) and self.tries("expectation")

    def expect(self) -> None:
        """Let the committee predict the flagged frames."""
        inputs = {"committee": self.ctx.trained["committee"], "frames": self.ctx.selected["flagged"]}
        self.attempt("expectation", CalculationFactory("hqe.predict"), self._name("expect"), **inputs)

    def quarantine(self) -> Any:
        """Keep count of the frames that cannot be labelled; a first set of which none can be ends the campaign."""
        self.ctx.labelled = outputs(self.ctx.labelling, "frames", "failed")
        if "failed" in self.ctx.labelled:
            self.ctx.failures[f"failed_{self._round:02d}"] = self.ctx.labelled["failed"]
        if not self.ctx.labelling.is_finished_ok:
            self.report(ending(self.ctx.labelling))
            machine = self.ctx.labelling.exit_status == 410
            if self._round == 0 or machine or "failed" not in self.ctx.labelled:
                return self._end("ERROR_LABELLING", ending(self.ctx.labelling))
        return None

    def has_labels(self) -> bool:
        """Whether there is something new to learn."""
        if not self.needs_sample():
            self.ctx.labelled = {"frames": self.inputs.frames}
        return "frames" in self.ctx.labelled

    def partition(self) -> Any:
        """Divide the new labels into training and held-out ones, and add them to those of before."""
        before = {name: node for name, node in self.ctx.sets.items() if name != "labels"}
        if "held_out" in self.inputs and not self.needs_sample():
            divided = divide(self.inputs.frames, self.inputs.held_out)
        else:
            divided = partition(self.ctx.labelled["frames"], self.ctx.settings["select"], **before)
        self.ctx.sets = {name: node for name, node in divided.items() if not name.startswith("added_")}
        counts = {
            name: self.ctx.sets[name].n_frames if name in self.ctx.sets else 0 for name in ("training_set", "held_out")
        }
        if counts["training_set"] < self._members:
            return self._end(
                "ERROR_TOO_FEW_LABELS", f"{counts['training_set']} to train on and {counts['held_out']} held out"
            )
        return None

    def trains(self) -> bool:
        """Whether there is time to learn from the labels: not when the user has asked for the end."""
        self.ctx.untrained = self._stopped
        return not self.ctx.untrained

    def train(self) -> Any:
        """Train on from the last committee, and calibrate."""
        self._progress("training")
        inputs = {
            "frames": self.ctx.sets["training_set"],
            "held_out": self.ctx.sets["held_out"],
            "settings": self.ctx.settings["train"],
            "selection": self.ctx.settings["select"],
            "batches": self.ctx.batches,
            "committee": self._initial(),
        }
        return ToContext(training=self.submit(WorkflowFactory("hqe.train"), self.child(self._name("train"), **inputs)))

    def assess(self) -> Any:
        """Judge the round."""
        found: dict[str, Any] = {"previous_calibration": self.ctx.trained.get("calibration"), **self.ctx.labelled}
        if self.ctx.training is not None:
            if not self.ctx.training.is_finished_ok:
                return self._end("ERROR_TRAINING", ending(self.ctx.training))
            self.ctx.trained = outputs(self.ctx.training, "committee", "calibration", "predictions")
        if self.ctx.sampling is not None:
            found |= {"selection": self.ctx.selected["selection"], "sampling": self.ctx.sampling.outputs.status}
        if self.ctx.expectation:
            expectation = self.ctx.expectation[-1]
            if not expectation.is_finished_ok:
                return self._end("ERROR_PREDICTION", ending(expectation))
            found["predictions"] = expectation.outputs.predictions
        found |= {name: self.ctx.sets.get(name) for name in ("training_set", "held_out")}
        found |= {"labelled": found.pop("frames", None), "calibration": self.ctx.trained.get("calibration")}
        found["previous"] = self.ctx.assessments[-1] if self.ctx.assessments else None
        self._record(assess(self.ctx.settings["round"], **given(**found)))
        return None

    def tries_comparison(self) -> bool:
        """Whether a committee has not yet predicted the final held-out labels; the last one may have done so already."""
        return any(self.tries(f"held_out_{number:02d}") for number, _ in self._compared)

    def predict(self) -> None:
        """Let the committee of every round predict the final held-out labels."""
        self._progress("comparing rounds")
        for number, committee in self._compared:
            name = f"held_out_{number:02d}"
            if self.tries(name):
                inputs = {"committee": committee, "frames": self.ctx.sets["held_out"]}
                self.attempt(name, CalculationFactory("hqe.predict"), name, **inputs)

    def conclude(self) -> Any:
        """Draw the learning curve, where there is a committee, and give the verdict."""
        points: dict[int, Any] = {}
        for number, _ in self._compared:
            job = self.ctx[f"held_out_{number:02d}"][-1]
            if not job.is_finished_ok:
                return self._end("ERROR_PREDICTION", ending(job))
            points[number] = job.outputs.predictions
        if self.ctx.committees and not self.ctx.untrained:
            points[self.ctx.committees[-1][0]] = self.ctx.trained["predictions"]
        curve = {f"predictions_{number:02d}": node for number, node in points.items()}
        curve |= {f"assessment_{number:02d}": node for number, node in enumerate(self.ctx.assessments)}
        if points:
            self.out("learning_curve", learning_curve(self.ctx.sets["held_out"], **curve))
        cause = {} if self.ctx.cause is None else {"cause": self.ctx.cause}
        self.out("verdict", verdict(self.inputs.campaign, self.ctx.assessments[-1], **cause))
        self._put_out()
        self._progress("finished")
        return None

    @property
    def _compared(self) -> list[tuple[int, CommitteeData]]:
        """Rounds and committees that have not predicted the final held-out labels as they were trained."""
        return list(self.ctx.committees if self.ctx.untrained else self.ctx.committees[:-1])

    @property
    def _round(self) -> int:
        return int(self.ctx.settings["round"].value)

    @property
    def _stopped(self) -> bool:
        """Whether the user has asked for the end."""
        return bool(self.node.base.extras.get(STOP, False))

    @property
    def _members(self) -> int:
        return int(self.ctx.plan["training"]["members"])

    def _name(self, step: str) -> str:
        return f"{step}_{self._round:02d}"

    def _begin(self) -> None:
        """Forget the steps of the round before."""
        if self._round == 0:
            self.ctx.first = self.ctx.settings
        self.ctx.sampling = self.ctx.labelling = self.ctx.training = None
        self.ctx.expectation = []
        self.ctx.selected, self.ctx.labelled = {}, {}
        self.node.base.extras.set("hqe_round", self._round)

    def _initial(self) -> CommitteeData | None:
        """The committee to train on from."""
        if not self.ctx.plan["training"]["warm_start"]:
            return None
        return self.ctx.trained.get("committee", self.inputs.get("committee"))

    def _record(self, assessment: Dict) -> None:
        self.ctx.assessments.append(assessment)
        if self.ctx.training is not None:
            self.ctx.committees.append((self._round, self.ctx.trained["committee"]))
        self.out(f"rounds.round_{self._round:02d}", assessment)
        extras = {"hqe_rounds": [node.get_dict() for node in self.ctx.assessments], "hqe_done": 0, "hqe_total": 0}
        self.node.base.extras.set_many(extras)

    def _progress(self, stage: str, total: int = 0) -> None:
        """Say in the extras, which anyone may read while the campaign runs, where it is."""
        self.node.base.extras.set_many(
            {"hqe_stage": stage, "hqe_round": self._round, "hqe_done": 0, "hqe_total": total}
        )
        self.report(f"round {self._round}: {stage}" + (f" {total} frames" if total else ""))

    def _put_out(self) -> None:
        """Put out what there is: the last committee and all labels."""
        self.out_many(
            {name: self.ctx.trained[name] for name in ("committee", "calibration") if name in self.ctx.trained}
        )
        self.out_many(self.ctx.sets)

    def _end(self, code: str, reason: str) -> Any:
        """End with an exit code, keeping what there is."""
        self._put_out()
        self._progress("failed")
        return self.exit_codes[code].format(round=self._round, reason=reason)


def _starts_completely(inputs: Any, _namespace: Any) -> str | None:
    if "held_out" in inputs and not {"frames", "committee"} <= set(inputs):
        return "held_out says which of the frames the committee never saw: give frames and committee with it"
    if {"frames", "committee"} <= set(inputs) and "held_out" not in inputs:
        return "held_out was expected with frames and committee: which of the frames the committee never saw, to calibrate on"
    return None


def _define_outputs(spec: Any) -> None:
    spec.output("committee", valid_type=CommitteeData, required=False, help="The last committee.")
    spec.output("calibration", valid_type=Dict, required=False, help="Its calibration.")
    spec.output("training_set", valid_type=FramesData, required=False, help="Labels it learned from.")
    spec.output("held_out", valid_type=FramesData, required=False, help="Labels it was calibrated on.")
    spec.output("labels", valid_type=FramesData, required=False, help="All labels.")
    spec.output("verdict", valid_type=Dict, required=False, help="Converged, or why it ended.")
    spec.output("learning_curve", valid_type=Dict, required=False, help="Errors of each round.")
    spec.output_namespace("rounds", valid_type=Dict, dynamic=True, help="Assessment of each round.")


def _define_exit_codes(spec: Any) -> None:
    spec.exit_code(400, "ERROR_SAMPLING", message="sampling failed in round {round}: {reason}")
    spec.exit_code(401, "ERROR_LABELLING", message="labelling failed in round {round}: {reason}")
    spec.exit_code(
        402, "ERROR_TOO_FEW_LABELS", message="too few labels to train and calibrate in round {round}: {reason}"
    )
    spec.exit_code(403, "ERROR_TRAINING", message="training failed in round {round}: {reason}")
    spec.exit_code(404, "ERROR_PREDICTION", message="prediction failed in round {round}: {reason}")
    spec.exit_code(
        410, "ERROR_UNTRUSTED_AT_ONCE", message="the committee of round {round} cannot drive dynamics: {reason}"
    )
