"""`plan`: a dry run of a campaign. Sizes are exact, costs are estimated or measured, and each says which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from aiida_hqe.errors import HQEError
from aiida_hqe.settings import Settings

if TYPE_CHECKING:
    from aiida_hqe.campaign.schema import Campaign
    from aiida_hqe.embedding.level import CoreMethod, Level
    from aiida_hqe.frames import Frame
    from aiida_hqe.qmmm.assembly import Assembly

ESTIMATE = (
    "model fitted to methanol in 0 to 3 QM waters (48 to 120 basis functions) on one server core: 1.7 s (N/48)^2.35 for the"
    " environment and its forces and to embed cores, 7e-9 s o^2 v^4 for CCSD, (1 + 0.04 o) times that with triples; analytic"
    " forces of the target level add 0.2 of the former and 2 of the latter; expect a factor of two, or use --measure"
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
        Sites in all, in the QM region with its link atoms, and point charges around the region as it was set up.
    links
        QM atom, MM atom and remainder of the force-field charge (e) that the latter takes over, of each bond with a link atom.
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
    links: list[tuple[int, int, float]] = Field(default_factory=list)
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
        for inner, host, charge in self.links:
            rows.append(("link atom", f"hydrogen on the bond {inner} - {host}; {charge:+.4f} e balance the charges"))
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
    n_sites = frame.n_qm + frame.n_mm
    seconds = _measured(frame, level) if measure else estimated_seconds(int(molecule.nao), cores, level, n_sites)
    source = "one label of the configuration as it was set up" if measure else ESTIMATE
    return Plan(
        atoms=assembly.n_atoms,
        qm_atoms=frame.n_qm,
        point_charges=frame.n_mm,
        links=[(*pair, gain) for pair, gain in zip(assembly.links.tolist(), assembly.boundary.balance, strict=True)],
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


def estimated_seconds(n_basis: int, cores: list[CorePlan], level: Level, n_sites: int = 0) -> float:
    """Processor time of one label in s, by the model that `ESTIMATE` states.

    Parameters
    ----------
    n_basis, cores
        Basis functions of the QM region, and its quantum cores.
    level
        Methods of the cores and of their forces.
    n_sites
        QM atoms and point charges, each of which numerical forces displace six times.
    """
    environment = 1.7 * (n_basis / 48) ** 2.35
    energy = environment + _correlation_seconds(cores, level.core)
    if level.forces == "numerical":
        return energy * (1 + 6 * n_sites)
    if level.force_core is None:
        return energy
    return energy + 0.2 * environment + 2 * _correlation_seconds(cores, level.force_core)


def _correlation_seconds(cores: list[CorePlan], core: CoreMethod) -> float:
    if "ccsd" not in core.method:
        return 0.0
    sizes = [(each.orbitals - each.frozen, each.virtuals) for each in cores]
    triples = 0.04 if core.method.endswith("(t)") else 0.0
    return sum(7e-9 * o**2 * v**4 * (1 + triples * o) for o, v in sizes)


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
