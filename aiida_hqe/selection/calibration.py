"""Calibration: what a committee's disagreement says about its error, by split conformal prediction on held-out labels.

The score of a held-out frame is its error divided by its disagreement. The ``ceil((n + 1) confidence)``-th smallest of n
scores is the factor by which to multiply a disagreement: for a new frame *exchangeable with the held-out ones* the bound
``factor * disagreement`` exceeds the error with at least the stated confidence, whatever the distribution (Vovk, Gammerman,
Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., doi:10.1080/01621459.2017.1307116). Frames of a new
round are not exchangeable with old ones: `coverage` on freshly labelled frames measures what is left of the promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame
from aiida_hqe.predictions import Level, Prediction, Residuals
from aiida_hqe.selection.residuals import force_errors, residuals
from aiida_hqe.settings import Settings

FLOOR = 1e-3
"""A disagreement counts for at least this fraction of the median one: agreement by chance is no proof."""

_LEAST_FACTOR = 1e-9  # keeps a threshold finite, where a committee made no error at all
_RESAMPLES = 1000


class Calibration(Settings):
    """Factors from disagreement to error bound, and how well the committee did on the held-out frames.

    Attributes
    ----------
    confidence
        Fraction of exchangeable frames whose error stays below its bound.
    level, energy_level
        Level whose forces, and whose energy, were compared.
    force_method
        Method of the cores in the target forces that were compared, where it is not that of the target energies.
    force_factor, energy_factor
        Bound = factor * disagreement (dimensionless); no energy factor where the labels have no energy.
    force_floor, energy_floor
        Smallest disagreement that counts (eV/angstrom, eV).
    n_frames
        Number of held-out frames.
    force_error, force_error_uncertainty
        Mean over frames of the force error N(F_mean - F_label), and its standard error by bootstrap (eV/angstrom).
    energy_error
        Mean absolute error of the energy (eV).
    coverage
        Fraction of held-out frames below the bound that the *other* held-out frames give. It is near the confidence by
        construction: the test of the promise is the coverage of fresh labels.
    coverage_upper_half
        The same among the half of the frames with the larger disagreement: whether the bound holds where it is used.
    raw_coverage
        Fraction of frames whose error stays within the Gaussian interval of the uncalibrated disagreement.
    rank_correlation
        Spearman's rank correlation of force error and disagreement; 0 where either is constant.
    errors, disagreements, energy_errors, energy_disagreements
        Per frame, in the order of the held-out set.
    """

    confidence: float = Field(gt=0, lt=1)
    level: Level
    energy_level: Level | None = None
    force_method: str | None = None
    force_factor: float = Field(ge=0)
    energy_factor: float | None = Field(None, ge=0)
    force_floor: float = Field(ge=0)
    energy_floor: float = Field(0.0, ge=0)
    n_frames: int
    force_error: float
    force_error_uncertainty: float
    energy_error: float | None = None
    coverage: float
    coverage_upper_half: float
    raw_coverage: float
    rank_correlation: float
    errors: list[float]
    disagreements: list[float]
    energy_errors: list[float] = Field(default_factory=list)
    energy_disagreements: list[float] = Field(default_factory=list)

    def force_bound(self, disagreement: float) -> float:
        """Calibrated bound of the force error (eV/angstrom) of a frame with this disagreement (eV/angstrom)."""
        return self.force_factor * max(disagreement, self.force_floor)

    def energy_bound(self, disagreement: float) -> float:
        """Calibrated bound of the energy error (eV) of a frame with this energy disagreement (eV).

        Raises
        ------
        InputError
            The labels had no energies.
        """
        if self.energy_factor is None:
            raise InputError("a calibration of energies was expected (got labels without energies): label energies")
        return self.energy_factor * max(disagreement, self.energy_floor)

    def threshold(self, target_error: float) -> float:
        """Disagreement (eV/angstrom) above which the bound exceeds `target_error` (eV/angstrom).

        Raises
        ------
        InputError
            The target error is not positive.
        """
        if not (target_error > 0 and math.isfinite(target_error)):
            raise InputError(
                f"a target error above zero was expected (got {target_error}): state what error you accept"
            )
        return target_error / max(self.force_factor, _LEAST_FACTOR)


def calibrate(frames: Sequence[Frame], predictions: Sequence[Prediction], confidence: float) -> Calibration:
    """Calibrate a committee on labelled frames that it was not trained on.

    Forces of the target level are compared where every frame has them, otherwise those of the environment; the target
    energy where every frame has one, otherwise that of the environment.

    Raises
    ------
    InputError
        There are too few frames for the confidence, labels or predictions are missing, or the members never disagree.
    """
    require_enough(len(frames), confidence)
    return calibrated(residuals(frames, predictions), confidence)


def calibrated(found: Residuals, confidence: float) -> Calibration:
    """Calibration of a committee that is so far from the labels of frames that it was not trained on.

    Raises
    ------
    InputError
        There are too few frames for the confidence, or the members never disagree.
    """
    require_enough(len(found.frames), confidence)
    errors, disagreements = found.force_errors, found.disagreements
    floor = _floor(disagreements)
    scores = errors / np.maximum(disagreements, floor)
    covered = scores <= _leave_one_out(scores, confidence)
    energies = {} if found.energy_level is None else _energies(found, confidence)
    return Calibration(
        confidence=confidence,
        level=found.level,
        energy_level=found.energy_level,
        force_method=found.force_method,
        force_factor=_quantile(scores, confidence),
        force_floor=floor,
        n_frames=len(errors),
        force_error=float(errors.mean()),
        force_error_uncertainty=_bootstrap(errors),
        coverage=float(covered.mean()),
        coverage_upper_half=float(covered[np.argsort(disagreements, kind="stable")[len(errors) // 2 :]].mean()),
        raw_coverage=float((errors <= _gaussian(confidence) * disagreements).mean()),
        rank_correlation=_rank_correlation(errors, disagreements),
        errors=errors.tolist(),
        disagreements=disagreements.tolist(),
        **energies,
    )


def coverage(calibration: Calibration, frames: Sequence[Frame], predictions: Sequence[Prediction]) -> float:
    """Fraction of freshly labelled frames whose force error stays below the bound of an earlier calibration.

    Raises
    ------
    InputError
        There is no frame, or a frame lacks the forces that were calibrated.
    """
    if not frames:
        raise InputError("at least one labelled frame was expected (got none): label some")
    errors, disagreements = force_errors(frames, predictions, calibration.level)
    bounds = [calibration.force_bound(disagreement) for disagreement in disagreements]
    return float((errors <= bounds).mean())


def frames_needed(confidence: float) -> int:
    """Smallest number of held-out frames that can promise this confidence: ``ceil(confidence / (1 - confidence))``."""
    return math.ceil(confidence / (1.0 - confidence) - 1e-9)


def require_enough(n_frames: int, confidence: float) -> None:
    """Refuse too few held-out labels for a confidence.

    Raises
    ------
    InputError
        So few frames cannot promise it.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"a confidence between 0 and 1 was expected (got {confidence}): correct it", "confidence")
    needed = frames_needed(confidence)
    if n_frames < needed:
        raise InputError(
            f"at least {needed} held-out labels were expected for a confidence of {confidence:g} (got {n_frames}):"
            " label more frames, hold out more of them, or lower the confidence",
            "confidence",
        )


def _energies(found: Residuals, confidence: float) -> dict[str, object]:
    """The energy fields of a calibration."""
    floor = _floor(found.energy_disagreements)
    scores = found.energy_errors / np.maximum(found.energy_disagreements, floor)
    return {
        "energy_factor": _quantile(scores, confidence),
        "energy_floor": floor,
        "energy_error": float(found.energy_errors.mean()),
        "energy_errors": found.energy_errors.tolist(),
        "energy_disagreements": found.energy_disagreements.tolist(),
    }


def _floor(disagreements: Floats) -> float:
    positive = disagreements[disagreements > 0]
    if not len(positive):
        raise InputError("members that disagree were expected (got equal ones): train them with different seeds")
    return FLOOR * float(np.median(positive))


def _rank(n_scores: int, confidence: float) -> int:
    return math.ceil((n_scores + 1) * confidence - 1e-9)


def _quantile(scores: Floats, confidence: float) -> float:
    return float(np.sort(scores)[_rank(len(scores), confidence) - 1])


def _leave_one_out(scores: Floats, confidence: float) -> Floats:
    """The factor that the other frames give each frame, (n,); their largest score where they are too few."""
    n_others = len(scores) - 1
    if not n_others:
        return np.full(1, np.inf)
    rank = min(_rank(n_others, confidence), n_others)
    ranked = np.sort(scores)  # where one up to that rank is left out, the next one takes its place
    return np.where(scores <= ranked[rank - 1], ranked[rank], ranked[rank - 1])


def _gaussian(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(0.5 * (1.0 + confidence))


def _bootstrap(errors: Floats) -> float:
    """Standard error of the mean, by resampling frames with a fixed seed."""
    chosen = np.random.default_rng(0).integers(len(errors), size=(_RESAMPLES, len(errors)))
    return float(errors[chosen].mean(axis=1).std(ddof=1))


def _rank_correlation(errors: Floats, disagreements: Floats) -> float:
    if np.ptp(errors) == 0 or np.ptp(disagreements) == 0:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(errors, disagreements).statistic)
