"""Which sampled frames are worth a label, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.selection.calibration import Calibration
from aiida_hqe.selection.diversity import descriptors, farthest_points
from aiida_hqe.selection.settings import SelectionSettings

REASONS = {"committee": "uncertain", "random": "random", "farthest_point": "farthest_point"}
"""What ``info["reason"]`` says about a frame that each strategy chose; ``first set`` where there was no committee yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selected:
    """Frames to label, and how uncertain the sample was that they come from.

    Attributes
    ----------
    frames
        Frames to label, best first; their info gained ``rank`` (from 1) and ``reason``, and with a calibration ``bound``
        (eV/angstrom) and ``threshold`` (the disagreement that the target error allows, eV/angstrom), and ``energy_bound``
        (eV) where a target energy error is set.
    n_sampled
        Number of distinct frames in the sample.
    n_uncertain
        Number of them whose bound exceeds the target error; all of them without a calibration.
    """

    frames: Frames
    n_sampled: int
    n_uncertain: int

    @property
    def uncertain_fraction(self) -> float:
        """Uncertain share of the sample, 0 to 1."""
        return self.n_uncertain / self.n_sampled


def select(
    frames: Frames,
    calibration: Calibration | None,
    settings: SelectionSettings,
    *,
    known: Collection[Frame] | Collection[str] = (),
    seed: int,
) -> Selected:
    """Choose frames to label.

    Parameters
    ----------
    frames
        Sampled frames; with a calibration their info holds ``disagreement`` (and ``energy_disagreement`` where a target
        energy error is set).
    calibration
        Calibration of the committee that sampled them; without one, every frame is of the first set and is chosen.
    settings
        Target error, strategy, batch size, diversity.
    known
        Frames that have a label, or failed to get one: never chosen again. As frames they also count as chosen points of
        the farthest-point choice; as content hashes they are only left out.
    seed
        Seed of the strategy ``random``; the others are deterministic without one.

    Raises
    ------
    InputError
        The sample is empty, or a frame lacks its disagreement.
    """
    pool = Frames(frames).unique()
    if not pool:
        raise InputError("sampled frames were expected (got none): sample for more steps, or more often", "frames")
    known_frames = [item for item in known if isinstance(item, Frame)]
    hashes = {item.hash if isinstance(item, Frame) else item for item in known}
    if calibration is None:
        fresh = [frame for frame in pool if frame.hash not in hashes]
        return Selected(frames=_ranked(fresh, "first set"), n_sampled=len(pool), n_uncertain=len(pool))
    judged = [_judged(frame, calibration, settings) for frame in pool]
    uncertain = [frame for frame in judged if _is_uncertain(frame, settings)]
    candidates = uncertain if settings.strategy == "committee" else judged
    candidates = [frame for frame in candidates if frame.hash not in hashes]
    chosen = _choose(candidates, settings, known_frames, seed)
    return Selected(frames=_ranked(chosen, REASONS[settings.strategy]), n_sampled=len(pool), n_uncertain=len(uncertain))


def _choose(candidates: list[Frame], settings: SelectionSettings, known: list[Frame], seed: int) -> list[Frame]:
    """The batch, best first."""
    if not candidates:
        return []
    candidates = sorted(candidates, key=lambda frame: (-_number(frame, "bound"), frame.hash))
    if settings.strategy == "random":
        order = np.random.default_rng(seed).permutation(len(candidates))[: settings.batch].tolist()
        return [candidates[i] for i in order]
    if settings.strategy == "committee" and not settings.diversity:
        return candidates[: settings.batch]
    points, known_points = descriptors(candidates, known)
    first = 0 if settings.strategy == "committee" else None
    return [candidates[i] for i in farthest_points(points, settings.batch, known_points, first)]


def _judged(frame: Frame, calibration: Calibration, settings: SelectionSettings) -> Frame:
    """The frame with its bounds and the threshold in its info."""
    bounds = {
        "bound": calibration.force_bound(_number(frame, "disagreement")),
        "threshold": calibration.threshold(settings.target_force_error),
    }
    if settings.target_energy_error is not None:
        bounds["energy_bound"] = calibration.energy_bound(_number(frame, "energy_disagreement"))
    return frame.replace(info={**frame.info, **bounds})


def _is_uncertain(frame: Frame, settings: SelectionSettings) -> bool:
    if _number(frame, "bound") > settings.target_force_error:
        return True
    return settings.target_energy_error is not None and _number(frame, "energy_bound") > settings.target_energy_error


def _number(frame: Frame, key: str) -> float:
    value = frame.info.get(key)
    if value is None or isinstance(value, str):
        raise InputError(
            f"{key} was expected in the info of frame {frame.hash[:12]} (got {value!r}): sample with a committee", key
        )
    return float(value)


def _ranked(frames: list[Frame], reason: str) -> Frames:
    return Frames(
        frame.replace(info={**frame.info, "rank": rank, "reason": reason}) for rank, frame in enumerate(frames, start=1)
    )
