"""`Targets`: what a network of one level is asked to reproduce, read off labelled frames and checked."""

from __future__ import annotations

import dataclasses

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame, Frames
from aiida_hqe.potentials.member import LevelName

_FIELDS: dict[LevelName, tuple[str, str, str]] = {
    "environment": ("environment_energy", "environment_forces", "environment_mm_forces"),
    "target": ("energy", "forces", "mm_forces"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """Energy (eV) and forces (eV/angstrom) one network must give for one frame; forces may be unknown."""

    energy: float
    forces: Floats | None
    mm_forces: Floats | None

    def __sub__(self, other: Targets) -> Targets:
        return Targets(
            self.energy - other.energy, _minus(self.forces, other.forces), _minus(self.mm_forces, other.mm_forces)
        )


def levels_of(frames: Frames) -> list[LevelName]:
    """Levels that the frames are labelled at; forces and levels must be the same for all.

    Raises
    ------
    InputError
        Fewer than two frames, frames without a label, levels, kinds of forces or methods of forces mixed, forces on QM atoms
        without those on the charges, or several charges or spins.
    """
    if len(frames) < 2:
        raise InputError(f"at least two labelled frames are needed to train (got {len(frames)}): label more")
    for frame in frames:
        if frame.environment_energy is None and frame.energy is None:
            raise InputError(
                f"a label was expected on every frame (frame {frame.hash[:12]} has none): label or remove it"
            )
    for field in (field for fields in _FIELDS.values() for field in fields):
        having = [getattr(frame, field) is not None for frame in frames]
        if any(having) and not all(having):
            raise InputError(
                f"one kind of label was expected in a training set ({sum(having)} of {len(frames)} frames have {field};"
                f" frame {frames[having.index(False)].hash[:12]} has not): label all frames at the same level"
            )
    for _, forces, mm_forces in _FIELDS.values():
        if (
            getattr(frames[0], forces) is not None
            and getattr(frames[0], mm_forces) is None
            and any(f.n_mm for f in frames)
        ):
            raise InputError(
                f"forces on the point charges were expected beside those on QM atoms (got {forces} and no {mm_forces}): label"
                " the frames with both"
            )
    methods = sorted({str(frame.info.get("force_method", "that of the energies")) for frame in frames})
    if len(methods) > 1:
        raise InputError(
            f"target forces of one method were expected in a training set (got {', '.join(methods)}): label all frames at"
            " the same level",
            "force_method",
        )
    regions = sorted({(frame.charge, frame.spin) for frame in frames})
    if len(regions) > 1:
        raise InputError(
            f"one charge and spin was expected in a training set (got {regions}): train one committee for each"
        )
    return [level for level, (energy, _, _) in _FIELDS.items() if getattr(frames[0], energy) is not None]


def targets(frame: Frame, level: LevelName) -> Targets:
    """Label of `frame` at `level`, which must be one of `levels_of`."""
    energy, forces, mm_forces = (getattr(frame, name) for name in _FIELDS[level])
    return Targets(energy, forces, mm_forces)


def baseline(frame: Frame) -> Targets:
    """Label of the frame's baseline, which it must have."""
    assert frame.baseline_energy is not None
    return Targets(frame.baseline_energy, frame.baseline_forces, frame.baseline_mm_forces)


def difference(frame: Frame) -> Targets:
    """Target minus environment level."""
    return targets(frame, "target") - targets(frame, "environment")


def _minus(one: Floats | None, other: Floats | None) -> Floats | None:
    return None if one is None or other is None else one - other
