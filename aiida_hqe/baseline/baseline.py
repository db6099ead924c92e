"""`evaluate` a baseline on a frame, and read it off frames that carry it already."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from aiida_hqe.baseline.settings import BaselineName
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Floats, Frame, Frames


@dataclasses.dataclass(frozen=True, eq=False)
class Baseline:
    """What a baseline says about a frame.

    Attributes
    ----------
    energy
        Energy of the QM atoms in the point charges (eV), without that of the charges among themselves.
    forces, mm_forces
        Forces on QM atoms (n_qm, 3) and on the charges (n_mm, 3), eV/angstrom.
    charge_gradient
        Derivative of the energy with respect to each charge, (n_mm,) eV/e.
    """

    energy: float
    forces: Floats
    mm_forces: Floats
    charge_gradient: Floats

    @classmethod
    def nothing(cls, frame: Frame) -> Baseline:
        """Zero energy and forces."""
        return cls(0.0, np.zeros((frame.n_qm, 3)), np.zeros((frame.n_mm, 3)), np.zeros(frame.n_mm))


INFO = "baseline"
"""Under this name the info of a frame says of which baseline its label is."""


def evaluate(frame: Frame, name: BaselineName) -> Baseline:
    """Compute the baseline `name`, which is not ``none``.

    Raises
    ------
    InputError
        The method has no parameters for an element.
    ConvergenceError
        Its equations did not converge.
    ResourceError
        The package that it needs is not installed.
    """
    from aiida_hqe.baseline import hartree_fock, xtb

    methods: dict[str, Callable[[Frame], Baseline]] = {
        "gfn1-xtb": xtb.gfn1,
        "gfn2-xtb": xtb.gfn2,
        "gfn1-xtb-gas": xtb.gfn1_gas,
        "gfn2-xtb-gas": xtb.gfn2_gas,
        "hf-minimal": hartree_fock.minimal,
    }
    return methods[name](frame)


def require(name: BaselineName) -> None:
    """See, before anything is computed that a failure would waste, that this machine has what the baseline needs.

    Raises
    ------
    ResourceError
        The package that it needs is not installed.
    """
    if "xtb" in name:
        from aiida_hqe.baseline import xtb

        xtb.interface()


def with_baseline(frames: Iterable[Frame], name: BaselineName) -> Frames:
    """The frames, each with the label of this baseline; what they have of it already is kept.

    Raises
    ------
    InputError
        A frame carries another baseline, or as `evaluate`.
    """
    return Frames(_with(frame, name) for frame in frames)


def _with(frame: Frame, name: BaselineName) -> Frame:
    if name == "none":
        return frame
    if frame.baseline_energy is not None and frame.baseline_forces is not None and frame.baseline_mm_forces is not None:
        has = frame.info.get(INFO)
        if has != name:
            raise InputError(
                f"frames with the baseline {name} were expected (frame {frame.hash[:12]} has"
                f" {has or 'one of unknown name'}): choose the same in levels and potential, or remove its baseline labels",
                "potential.baseline",
            )
        return frame
    found = evaluate(frame, name)
    return frame.replace(
        baseline_energy=found.energy,
        baseline_forces=found.forces,
        baseline_mm_forces=found.mm_forces,
        info={**frame.info, INFO: name},
    )
