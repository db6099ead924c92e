"""`CampaignRecord`: all that the page of a campaign shows, as plain values; it needs no profile to be rendered."""

from __future__ import annotations

import dataclasses
from typing import Any

Floats = list[float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearningPoint:
    """Errors of one round's committee on the final held-out set, in eV/angstrom and eV.

    Attributes
    ----------
    force_error, force_error_uncertainty
        Mean force error of the committee, and its bootstrap standard error over frames.
    member_errors
        The same mean force error of each member by itself.
    energy_error, energy_error_uncertainty
        Mean absolute error of target energies, where the labels have them.
    """

    round: int
    training_frames: int
    force_error: float
    force_error_uncertainty: float
    member_errors: Floats
    energy_error: float | None = None
    energy_error_uncertainty: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """Reference and committee mean: energies (eV) of the held-out frames, force components (eV/angstrom) of the first hundred."""

    energies: tuple[Floats, Floats]
    forces: tuple[Floats, Floats]
    mm_forces: tuple[Floats, Floats]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """What one round sampled: the disagreement of each frame (eV/angstrom), and the threshold it was held against.

    `disagreements` is empty, and `threshold` ``None``, in the first round, which has no committee. `places` are those of the
    sampled frames in the landscape of all rounds, `labelled_places` those of the frames sent to labelling.
    """

    round: int
    disagreements: Floats
    flagged: Floats
    threshold: float | None
    places: list[Floats] = dataclasses.field(default_factory=list)
    labelled_places: list[Floats] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """A frame that could not be labelled, and why."""

    frame: str
    round: int | None
    kind: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Core seconds of one kind of step in one round; `cached` of its jobs were taken from earlier runs."""

    round: int
    step: str
    jobs: int
    core_seconds: float
    cached: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CampaignRecord:
    """One campaign, as its page shows it.

    Attributes
    ----------
    rounds
        Assessment of each round, as in the output namespace ``rounds`` of the workchain.
    calibration
        Output ``calibration`` of the last round (`aiida_hqe.selection.calibration.Calibration`).
    landscape
        Fraction of the variance of the descriptors along each axis of the landscape of configurations.
    lineage
        For each labelled frame, what ``aiida-hqe why`` prints.
    """

    pk: int
    uuid: str
    name: str
    created: str
    finished: str
    seconds: float
    process_state: str
    exit_status: int | None
    verdict: dict[str, Any]
    campaign: dict[str, Any]
    rounds: list[dict[str, Any]]
    target_force_error: float | None = None
    learning_curve: list[LearningPoint] = dataclasses.field(default_factory=list)
    calibration: dict[str, Any] | None = None
    parity: Parity | None = None
    selections: list[Selection] = dataclasses.field(default_factory=list)
    landscape: tuple[float, float] | None = None
    failures: list[Failure] = dataclasses.field(default_factory=list)
    costs: list[Cost] = dataclasses.field(default_factory=list)
    lineage: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    labels_reused: int = 0
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    peak_memory: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether the campaign has ended, in whichever way."""
        return self.process_state in {"finished", "excepted", "killed"}

    @property
    def headline(self) -> str:
        """The verdict in two words."""
        if not self.ended:
            return "Still running"
        if self.process_state != "finished" or self.exit_status:
            return "Failed"
        return "Converged" if self.verdict.get("converged") else "Not converged"

    @property
    def explanation(self) -> str:
        """The reason of the verdict, as a sentence of its own after the headline."""
        reason = str(self.verdict.get("reason", ""))
        for repeated in ("converged: ", "not converged ", "stopped: "):
            reason = reason.removeprefix(repeated)
        return f"{reason[0].upper()}{reason[1:].rstrip('.')}." if reason else ""

    def example_frame(self) -> str | None:
        """Hash of a frame that a committee flagged, the last one; of any labelled frame where none was flagged."""
        frames = sorted(self.lineage, key=lambda item: item.get("round") or 0)
        return str(frames[-1]["frame"]) if frames else None
