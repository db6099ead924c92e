"""`plan`: a dry run of a campaign. Sizes are exact, costs are estimated or measured, and each says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aiida_hqe.errors import HQEError
from aiida_hqe.settings import Settings

if TYPE_CHECKING:
    from aiida_hqe.campaign.schema import Campaign
    from aiida_hqe.embedding.level import Level
    from aiida_hqe.frames import Frame
    from aiida_hqe.qmmm.assembly import Assembly

ESTIMATE = (
    "model fitted to methanol in 0 to 3 QM waters (48 to 120 basis functions) on one server core:"
    " 2.6 s (N/48)^2.3 for the environment and its forces, 0.33 s (N/48)^3 to embed a core, 3.0e-8 s o^2 v^4 for CCSD,"
    " (1 + 0.04 o) times that with triples; expect a factor of two, or use --measure"
)
"""Where an estimated cost comes from; N basis functions, o correlated and v virtual orbitals."""

CACHING = "not looked up: name an AiiDA profile with -p to learn which of its labels would be reused"


class CorePlan(Settings):
    """Size of one quantum core.

    Attributes
    ----------
    core, atoms, orbitals
        Number of the core, its atoms, and its occupied orbitals.
    frozen, virtuals
        Orbitals left uncorrelated, and virtual orbitals (the most, where the space is truncated).
    """

    core: int
    atoms: int
    orbitals: int
    frozen: int
    virtuals: int


class Plan(Settings):
    """What a campaign would do.

    Attributes
    ----------
    atoms, qm_atoms, point_charges
        Sites in all, in the QM region, and point charges around the region as it was set up.
    box
        Edges of the box, angstrom; ``None`` without one.
    electrons, basis_functions
        Of the QM region, at the environment level.
    cores
        Each quantum core.
    first_labels, batch, max_labels
        Labels of the first set, the most of one round, and the most in all.
    max_jobs
        The most jobs (calculations) in all.
    label_seconds
        Processor time of one label, s.
    label_seconds_source
        Where that number comes from.
    max_core_hours
        Processor time of all labels together, h, if as many as `max_labels` are needed.
    caching
        What is known about labels that need not be computed again.
    """

    atoms: int
    qm_atoms: int
    point_charges: int
    box: tuple[float, float, float] | None
    electrons: int
    basis: str
    basis_functions: int
    cores: list[CorePlan]
    first_labels: int
    batch: int
    max_labels: int
    max_jobs: int
    label_seconds: float
    label_seconds_kind: Literal["estimated", "measured"]
    label_seconds_source: str
    max_core_hours: float
    caching: str = CACHING

    def table(self) -> list[tuple[str, str]]:
        """Name and value of each line of the plan in words."""
        box = "none" if self.box is None else " x ".join(f"{edge:.1f}" for edge in self.box) + " angstrom"
        rows = [
            ("system", f"{self.atoms} atoms, box {box}"),
            ("QM region", f"{self.qm_atoms} atoms, {self.electrons} electrons, {self.point_charges} point charges"),
            ("environment level", f"{self.basis_functions} basis functions ({self.basis})"),
        ]
        for core in self.cores:
            sizes = (
                f"{core.atoms} atoms, {core.orbitals} occupied orbitals ({core.frozen} frozen), {core.virtuals} virtual"
            )
            rows.append((f"quantum core {core.core}", sizes))
        return [
            *rows,
            ("labels", f"{self.first_labels} first, then at most {self.batch} a round: at most {self.max_labels}"),
            ("jobs", f"at most {self.max_jobs}"),
            ("one label", f"{self.label_seconds:.3g} s of one processor, {self.label_seconds_kind}"),
            ("all labels", f"at most {self.max_core_hours:.2g} processor hours"),
            ("from", self.label_seconds_source),
            ("reused by caching", self.caching),
        ]


def plan(campaign: Campaign, assembly: Assembly, *, measure: bool = False) -> Plan:
    """Plan of a checked campaign.

    Parameters
    ----------
    campaign, assembly
        As `aiida_hqe.campaign.check.check` gives them.
    measure
        Label the configuration of the set-up once, instead of estimating what a label costs.

    Raises
    ------
    HQEError
        The label that was to be measured failed.
    """
    from aiida_hqe.embedding.molecule import build_molecule

    frame, level = assembly.frame(), campaign.levels
    molecule = build_molecule(frame, level.environment.basis)
    cores = _cores(frame, level, molecule)
    seconds = _measured(frame, level) if measure else estimated_seconds(int(molecule.nao), cores, level.core.method)
    source = "one label of the configuration as it was set up" if measure else ESTIMATE
    return Plan(
        atoms=assembly.n_atoms,
        qm_atoms=frame.n_qm,
        point_charges=frame.n_mm,
        box=None if assembly.box is None else tuple(assembly.box.diagonal().tolist()),
        electrons=int(molecule.nelectron),
        basis=level.environment.basis,
        basis_functions=int(molecule.nao),
        cores=cores,
        first_labels=campaign.sampling.initial_frames,
        batch=campaign.selection.batch,
        max_labels=campaign.max_labels,
        max_jobs=_max_jobs(campaign),
        label_seconds=seconds,
        label_seconds_kind="measured" if measure else "estimated",
        label_seconds_source=source,
        max_core_hours=seconds * campaign.max_labels / 3600,
    )


def estimated_seconds(n_basis: int, cores: list[CorePlan], method: str) -> float:
    """Processor time of one label in s, by the model that `ESTIMATE` states."""
    seconds = 2.6 * (n_basis / 48) ** 2.3
    for core in cores:
        seconds += 0.33 * (n_basis / 48) ** 3
        if "ccsd" in method:
            correlated = core.orbitals - core.frozen
            triples = 1 + 0.04 * correlated if method.endswith("(t)") else 1.0
            seconds += 3.0e-8 * correlated**2 * core.virtuals**4 * triples
    return seconds


def _cores(frame: Frame, level: Level, molecule: Any) -> list[CorePlan]:
    from pyscf.data.elements import chemcore_atm

    occupied, counts = max(molecule.nelec), level.embedding.core_orbitals or []
    found = []
    for number, orbitals in enumerate(counts[: frame.n_cores], start=1):
        atoms = frame.numbers[frame.core == number]
        frozen = sum(chemcore_atm[z] for z in atoms) if level.core.frozen_core else 0
        virtuals = int(molecule.nao) - occupied
        found.append(CorePlan(core=number, atoms=len(atoms), orbitals=orbitals, frozen=frozen, virtuals=virtuals))
    return found


def _measured(frame: Frame, level: Level) -> float:
    import time

    from aiida_hqe.embedding.label import label

    start = time.process_time()
    found = label(frame, level, threads=1)
    if found.status == "failed":
        raise HQEError(f"a label to measure was expected (got a failure): {found.message}")
    return time.process_time() - start


def _max_jobs(campaign: Campaign) -> int:
    """Jobs of the set-up and of every round: sampling, labels, training, and predictions for selection and calibration."""
    parallel = campaign.resources.parallel_jobs
    labels = min(parallel, campaign.sampling.initial_frames) + campaign.stop.iterations * min(
        parallel, campaign.selection.batch
    )
    rounds = campaign.stop.iterations + 1
    training = rounds * min(parallel, campaign.training.members)
    predictions = rounds + campaign.stop.iterations + rounds
    return 1 + rounds + labels + training + predictions
