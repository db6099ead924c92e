"""`Label`: what one labelling calculation says about one frame, finished or failed."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from aiida_hqe.errors import IntegrityError
from aiida_hqe.frames import Frame
from aiida_hqe.settings import Settings

Vectors = list[tuple[float, float, float]]


class CoreLabel(Settings):
    """Energies of one quantum core, in eV.

    Attributes
    ----------
    core
        Number of the core (1, 2, ...).
    orbitals
        Number of occupied orbitals in the core.
    gap
        Singular-value gap of the partition at the cut (dimensionless, 0 to 1); ``None`` when the core is the whole region.
    mean_field_energy
        What the core's mean field adds to ``environment_energy``; with a dispersion correction, less that among the
        atoms of the core.
    correlation_energy
        MP2 or CCSD correlation energy of the core, without triples; 0 for HF.
    triples_energy
        Perturbative triples, 0 for every method but those that end in ``(t)``.
    mp2_correction
        MP2 estimate of what truncation of the virtual space leaves out (not contained in the other entries).
    virtuals
        Number of virtual orbitals that the correlated solver used.
    projector
        What kept the core's orbitals orthogonal to those of its environment; ``None`` for unrelaxed ones, which are.
    seconds
        Wall time of this core: partition, mean field, correlation, and with analytic forces their share of it.
    """

    core: int
    orbitals: int
    mean_field_energy: float
    correlation_energy: float = 0.0
    triples_energy: float = 0.0
    mp2_correction: float | None = None
    virtuals: int | None = None
    gap: float | None = None
    projector: str | None = None
    seconds: float = 0.0

    @property
    def energy(self) -> float:
        """What the core adds to ``environment_energy``: mean-field, correlation and triples energy (eV)."""
        return self.mean_field_energy + self.correlation_energy + self.triples_energy


VECTORS = frozenset(
    {"environment_charge_gradient", "charge_gradient"}
    | {f"{level}{name}" for level in ("", "environment_", "baseline_") for name in ("forces", "mm_forces")}
)
"""Names of the arrays in a `Label`, with a number or more for each atom or charge."""


class Label(Settings):
    """Result of labelling one frame, as one line of ``labels.jsonl`` and one item of ``label --json``.

    Attributes
    ----------
    status
        ``ok`` or ``failed``; a failed label carries ``error_kind`` and ``message`` and no energies.
    frame
        Content hash of the frame.
    energy
        Target-level energy: ``environment_energy`` + sum over cores of mean-field, correlation and triples
        energies (eV). ``None`` when the frame has no core.
    merged_core_error
        `energy` minus that of one core made of all cores (eV), where the level asks for it and the frame has several: an
        estimate of the error of the sum over cores, which lacks the correlation between them. Not contained in `energy`.
    environment_energy
        Kohn-Sham energy of the QM region (eV) with the interaction of its electrons and nuclei with the point
        charges, without that of the charges among themselves.
    environment_forces, environment_mm_forces
        Forces of that energy on QM atoms and on point charges, (n_qm, 3) and (n_mm, 3), eV/angstrom.
    environment_charge_gradient
        Derivative of the environment's energy with the values of the point charges, (n_mm,) eV/e: the potential of
        electrons and nuclei of the QM region at each of them.
    forces, mm_forces, charge_gradient
        Forces of the target-level energy, where the level asks for them, and, where these are analytic, its derivative with
        the charges.
    force_method, force_energy
        Method of the cores in these forces. Where the level has composite forces, it is not that of `energy`, and
        `force_energy` is the energy that they are the derivatives of (eV); it is ``None`` where that is `energy`.
    baseline, baseline_energy, baseline_forces, baseline_mm_forces
        Name of a cheap method, its energy (eV) and forces, where the level asks for one.
    seconds, core_seconds
        Wall time in all, and that of the quantum cores.
    scf_rung
        Rung of the SCF ladder that converged the environment.
    """

    status: Literal["ok", "failed"]
    frame: str
    energy: float | None = None
    environment_energy: float | None = None
    cores: list[CoreLabel] = Field(default_factory=list)
    merged_core_error: float | None = None
    environment_forces: Vectors | None = None
    environment_mm_forces: Vectors | None = None
    environment_charge_gradient: list[float] | None = None
    force_method: str | None = None
    force_energy: float | None = None
    forces: Vectors | None = None
    mm_forces: Vectors | None = None
    charge_gradient: list[float] | None = None
    baseline: str | None = None
    baseline_energy: float | None = None
    baseline_forces: Vectors | None = None
    baseline_mm_forces: Vectors | None = None
    scf_rung: str | None = None
    seconds: float = 0.0
    core_seconds: float = 0.0
    error_kind: str | None = None
    message: str | None = None

    def apply(self, frame: Frame) -> Frame:
        """Return `frame` with this label's energies and forces, and its cost in ``info``.

        Where energy and forces of the target are of two methods, ``info`` also has that of the forces (``force_method``).

        Raises
        ------
        IntegrityError
            The label failed, or belongs to another frame.
        """
        if self.status != "ok" or self.environment_energy is None:
            raise IntegrityError(
                f"an ok label was expected for frame {self.frame[:12]} (got {self.status}): {self.message}"
            )
        if self.frame != frame.hash:
            raise IntegrityError(f"label of frame {self.frame[:12]} does not belong to frame {frame.hash[:12]}")
        info = {**frame.info, "seconds": self.seconds, "core_seconds": self.core_seconds}
        info.pop("force_method", None)  # of an earlier label
        if self.force_energy is not None and self.force_method is not None:
            info["force_method"] = self.force_method
        baseline: dict[str, Any] = {}
        if self.baseline is not None:
            info["baseline"] = self.baseline
            baseline = {
                "baseline_energy": self.baseline_energy,
                "baseline_forces": _array(self.baseline_forces),
                "baseline_mm_forces": _array(self.baseline_mm_forces),
            }
        return frame.replace(
            environment_energy=self.environment_energy,
            environment_forces=_array(self.environment_forces),
            environment_mm_forces=_array(self.environment_mm_forces),
            energy=self.energy,
            forces=_array(self.forces),
            mm_forces=_array(self.mm_forces),
            info=info,
            **baseline,
        )


def _array(vectors: Vectors | None) -> np.ndarray | None:
    return None if vectors is None else np.array(vectors, dtype=float).reshape(-1, 3)
