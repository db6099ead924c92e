"""File names of the jobs, and the schemas of their settings and results: the one place where CalcJob, job and parser agree.

A job is a directory. Its CalcJob writes the inputs named here, ``hqe-job NAME`` reads them and writes the outputs, and the
parser reads those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from aiida_hqe.dynamics.settings import SamplingSettings
from aiida_hqe.errors import InputError
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.qmmm.settings import SystemSettings
from aiida_hqe.settings import Settings
from aiida_hqe.training.settings import TrainingSettings

FRAMES = "frames.h5"
"""Frames a job reads (label, train, predict)."""

LEVEL = "level.json"
"""Level of a label job (`aiida_hqe.embedding.level.Level`)."""

SETTINGS = "settings.json"
"""Settings of a job: one of the models below."""

ASSEMBLY = "assembly.h5"
"""Molecular assembly a sample job starts from."""

COMMITTEE = "committee.safetensors"
"""Committee a job reads: it drives dynamics, predicts, or is trained on from."""

LABELS = "labels.jsonl"
"""Result of a label job: one `aiida_hqe.labels.Label` a line, appended as soon as a frame is finished."""

DETAILS = "details.jsonl"
"""What is kept of `LABELS` beside the labelled frames: a line for each label, without its vectors."""

TRAINED = "trained.safetensors"
"""Result of a train job: the members it trained."""

HISTORY = "history.json"
"""Result of a train job: losses and errors, a list of dicts per member."""

PREDICTIONS = "predictions.h5"
"""Result of a predict job."""

SAMPLED = "sampled.h5"
"""Result of a sample job: frames, with disagreement and origin in their info."""

FINAL = "final.h5"
"""Result of a prepare or sample job: the assembly at its end."""

STATUS = "status.json"
"""How a job ended: `Status`. It is written last, and always unless the job was killed."""

CHECKPOINT = "sample.checkpoint"
"""From which a killed sampling job goes on; gone when it is finished."""

PROGRESS = "progress.json"
"""Counter that a running job rewrites: ``{"done": 3, "total": 24}``."""

DEVICE = "HQE_DEVICE"
"""Environment variable with the device on which the networks of a job compute (`aiida_hqe.potentials.device`)."""

LOCK = "lock"
"""Held by the process that runs the job in a directory."""

RESERVE = "reserve"
"""Bytes that a running job gives back where the disk is full, so that it can still say so in its `STATUS`."""


def counter(text: str) -> tuple[int, int]:
    """What a job has done and has to do, of the text of its `PROGRESS`.

    Raises
    ------
    ValueError
        The text is no such counter.
    """
    import json

    try:
        entries = json.loads(text)
        return int(entries["done"]), int(entries["total"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"a counter with done and total was expected (got {text[:40]!r})") from error


class Status(Settings):
    """How a job ended.

    Attributes
    ----------
    state
        ``finished``; ``partial`` where some frames failed; ``untrusted`` where sampling stopped because the committee left
        its trust region; ``failed``.
    error_kind, message
        Branch of the error tree and its one line, where the job failed.
    cause
        What the job ran out of, where that is known: ``walltime``, ``memory`` or ``disk``; ``device`` where its GPU was missing
        or failed.
    seconds, peak_memory
        Wall time (s) and peak resident memory (MB) of the job.
    threads
        Threads that the job was given; ``None`` in what an earlier version wrote.
    device
        Where its networks computed; ``None`` where none did.
    versions
        Versions of the packages that made the numbers.
    counts
        What was done: frames, steps, epochs ...

    The job may run another version than its reader: entries that the reader does not know are left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    state: Literal["finished", "partial", "untrusted", "failed"]
    error_kind: str | None = None
    message: str | None = None
    cause: Literal["walltime", "memory", "disk", "device"] | None = None
    seconds: float = 0.0
    peak_memory: float = 0.0
    threads: int | None = None
    device: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, float] = Field(default_factory=dict)


class PrepareJob(Settings):
    """Settings of ``hqe-job prepare``: the files that `system` names lie in the job's directory."""

    system: SystemSettings
    sampling: SamplingSettings
    seed: int = Field(ge=0)


class SampleJob(Settings):
    """Settings of ``hqe-job sample``; with a committee file in the directory it drives the QM region.

    `trust_disagreement` (eV/angstrom) stops a committee run.
    """

    sampling: SamplingSettings
    seed: int = Field(ge=0)
    steps: int = Field(ge=1)
    interval: int = Field(ge=1)
    trust_disagreement: float | None = Field(None, gt=0)


class TrainJob(Settings):
    """Settings of ``hqe-job train``: which members of the committee to train, each with its own seed and data fold.

    With a committee file in the directory, training goes on from its members of the same number.
    """

    potential: PotentialSettings
    training: TrainingSettings
    members: list[int] = Field(min_length=1)
    seed: int = Field(ge=0)


def write_settings(directory: Path, name: str, settings: Settings) -> None:
    """Write a settings model as JSON, sorted by key, so that equal settings are equal bytes."""
    import json

    text = json.dumps(settings.model_dump(mode="json"), sort_keys=True, indent=1)
    (directory / name).write_text(text + "\n")


Model = TypeVar("Model", bound=Settings)


def read_settings(directory: Path, name: str, model: type[Model]) -> Model:
    """Read what :func:`write_settings` wrote.

    Raises
    ------
    InputError
        The file is missing, or an entry of it is wrong.
    """
    path = directory / name
    if not path.is_file():
        raise InputError(f"{path}: settings of the job were expected (got no file): write them")
    try:
        return model.model_validate_json(path.read_text())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{name}: {key}: {first['msg']} (got {first['input']!r}): correct this entry", key) from error
