"""What analytic forces of the target level are there for; everything else is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from aiida_hqe.embedding.environment import xc_library
from aiida_hqe.embedding.level import Environment, Level, LevelShift
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame

METHODS = ("hf", "mp2", "ccsd", "ccsd(t)")
"""Methods of the core."""


def check(frame: Frame, level: Level) -> None:
    """Raise `InputError` where analytic forces of the target level are not there for a frame at a level."""
    for supported, what, came, key in _conditions(frame, level):
        if not supported:
            raise InputError(
                f"analytic forces of the target level are there for {what} (got {came}): change it, or set forces to"
                " numerical for a small system or to none",
                key,
            )


def _conditions(frame: Frame, level: Level) -> Iterator[tuple[bool, str, str, str]]:
    """Condition, what is supported, what came, key."""
    core, embedding = level.force_core or level.core, level.embedding
    shifted = isinstance(embedding.projector, LevelShift)
    yield frame.n_cores > 0, "frames with a quantum core", "a frame without one", "forces"
    yield frame.spin == 0, "closed shells", f"{frame.spin} unpaired electrons", "forces"
    yield core.method in METHODS, f"the methods {', '.join(METHODS)}", core.method, "core.method"
    yield embedding.partition == "spade", "the partition spade", embedding.partition, "embedding.partition"
    yield embedding.functional == "linear", "the functional linear", embedding.functional, "embedding.functional"
    yield not shifted, "the projectors huzinaga and fermi-huzinaga", "a level shift", "embedding.projector"
    xc, what = level.environment.xc, "functionals with a kernel and without non-local correlation"
    yield _differentiable(level.environment), what, xc, "environment.xc"


def _differentiable(settings: Environment) -> bool:
    """Whether the functional has a kernel, and no non-local correlation."""
    library = xc_library(settings)
    return not library.is_nlc(settings.xc) and bool(library.test_deriv_order(settings.xc, 2))
