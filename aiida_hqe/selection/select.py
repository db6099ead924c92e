"""Which sampled frames are worth a label, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Batch, Frame, Frames, Scalar
from aiida_hqe.selection.calibration import Calibration
from aiida_hqe.selection.diversity import descriptors, farthest_points
from aiida_hqe.selection.settings import SelectionSettings

REASONS = {"committee": "uncertain", "random": "random", "farthest_point": "farthest_point"}
"""What ``info["reason"]`` says about a frame that each strategy chose; ``first set`` where there was no committee yet."""

COMPARED = 1000
"""Of more candidates than these, diversity is sought among the most uncertain ones only, and from about so many known frames, the
last ones (`farthest_point`, which ignores the committee: among as many candidates at random, by their hash)."""

_LEAST_WEIGHT = 1e-9
"""eV/angstrom; of a frame with a smaller bound in the choice of diverse frames, so that its distance still counts."""


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
    frames: Batch,
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
        energy error is set). Of a large batch only the frames that may be chosen are read.
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
    rows: dict[str, int] = {}
    for row, key in enumerate(frames.hashes):
        rows.setdefault(key, row)
    if not rows:
        raise InputError("sampled frames were expected (got none): sample for more steps, or more often", "frames")
    known_frames = [item for item in known if isinstance(item, Frame)]
    hashes = {item.hash if isinstance(item, Frame) else item for item in known}
    if calibration is None:
        fresh = frames.take([row for key, row in rows.items() if key not in hashes])
        return Selected(frames=_ranked(fresh, "first set", {}), n_sampled=len(rows), n_uncertain=len(rows))
    infos = frames.infos
    judged = {key: _judged(key, infos[row], calibration, settings) for key, row in rows.items()}
    uncertain = [key for key in rows if _is_uncertain(judged[key], settings)]
    candidates = uncertain if settings.strategy == "committee" else rows
    bounds = {key: judged[key]["bound"] for key in candidates if key not in hashes}
    chosen = _choose(bounds, lambda keys: frames.take([rows[key] for key in keys]), settings, known_frames, seed)
    return Selected(
        frames=_ranked(chosen, REASONS[settings.strategy], judged), n_sampled=len(rows), n_uncertain=len(uncertain)
    )


def _choose(
    bounds: dict[str, float],
    take: Callable[[list[str]], Frames],
    settings: SelectionSettings,
    known: list[Frame],
    seed: int,
) -> Frames:
    """The batch, best first, of candidates with these bounds, by their hash; `take` reads their frames."""
    candidates = sorted(bounds, key=lambda key: (-bounds[key], key))
    if settings.strategy == "random":
        order = np.random.default_rng(seed).permutation(len(candidates))[: settings.batch].tolist()
        return take([candidates[i] for i in order])
    if not candidates or (settings.strategy == "committee" and not settings.diversity):
        return take(candidates[: settings.batch])
    if settings.strategy == "farthest_point" and len(candidates) > COMPARED:
        candidates = sorted(candidates)
    pool = take(candidates[: max(COMPARED, settings.batch)])
    points, known_points = descriptors(pool, known)
    if settings.strategy == "farthest_point":
        return pool.take(farthest_points(points, settings.batch, known_points))
    weights = np.array([max(bounds[key], _LEAST_WEIGHT) for key in pool.hashes])
    return pool.take(farthest_points(points, settings.batch, known_points, first=0, weights=weights))


def _judged(
    key: str, info: Mapping[str, Scalar], calibration: Calibration, settings: SelectionSettings
) -> dict[str, float]:
    """Bounds and threshold of the frame with this hash and info."""
    bounds = {
        "bound": calibration.force_bound(_number(key, info, "disagreement")),
        "threshold": calibration.threshold(settings.target_force_error),
    }
    if settings.target_energy_error is not None:
        bounds["energy_bound"] = calibration.energy_bound(_number(key, info, "energy_disagreement"))
    return bounds


def _is_uncertain(judged: dict[str, float], settings: SelectionSettings) -> bool:
    if judged["bound"] > settings.target_force_error:
        return True
    return settings.target_energy_error is not None and judged["energy_bound"] > settings.target_energy_error


def _number(key: str, info: Mapping[str, Scalar], name: str) -> float:
    value = info.get(name)
    if value is None or isinstance(value, str):
        raise InputError(
            f"{name} was expected in the info of frame {key[:12]} (got {value!r}): sample with a committee", name
        )
    return float(value)


def _ranked(frames: Frames, reason: str, judged: Mapping[str, dict[str, float]]) -> Frames:
    """The frames with rank, reason and what they were judged by in their info."""
    return Frames(
        frame.replace(info={**frame.info, **judged.get(frame.hash, {}), "rank": rank, "reason": reason})
        for rank, frame in enumerate(frames, start=1)
    )
