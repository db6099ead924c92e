"""`check`: everything that can be found wrong with a campaign before anything is computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from aiida_hqe.campaign import document, protocols
from aiida_hqe.campaign.schema import Campaign
from aiida_hqe.errors import InputError

if TYPE_CHECKING:
    from aiida_hqe.campaign.plan import Plan
    from aiida_hqe.qmmm.assembly import Assembly
    from aiida_hqe.qmmm.settings import SystemSettings


@dataclasses.dataclass(frozen=True)
class Checked:
    """A campaign that can be submitted.

    Attributes
    ----------
    path
        The campaign file.
    campaign
        Its validated settings, with those of the protocol.
    assembly
        The system as it was set up.
    directory
        Folder that the campaign's paths are relative to.
    files
        The files that the campaign names, by their name in it.
    """

    path: Path
    campaign: Campaign
    assembly: Assembly
    directory: Path
    files: dict[str, Path]

    def plan(self, *, measure: bool = False) -> Plan:
        """Sizes, processes and cost; see `aiida_hqe.campaign.plan.plan`."""
        from aiida_hqe.campaign.plan import plan

        return plan(self.campaign, self.assembly, measure=measure)

    def summary(self) -> dict[str, Any]:
        """The campaign's settings in full and the size of its system, as JSON."""
        frame = self.assembly.frame()
        return {
            "campaign": self.campaign.model_dump(mode="json"),
            "files": sorted(self.files),
            "atoms": self.assembly.n_atoms,
            "qm_atoms": self.assembly.n_qm,
            "link_atoms": len(self.assembly.links),
            "cores": frame.n_cores,
            "point_charges": frame.n_mm,
            "held_out": self.campaign.n_calibration,
            "max_labels": self.campaign.max_labels,
        }


def check(path: str | Path) -> Checked:
    """Validate a campaign file, set its system up, and see that its levels fit the system.

    Parameters
    ----------
    path
        The campaign file (YAML).

    Raises
    ------
    InputError
        Anything is wrong; one line ``file:line: key: what was expected (got ...)`` per fault.
    """
    path = Path(path)
    found = document.load(path)
    campaign = document.validate(found, Campaign, protocols.resolve)
    try:
        files = campaign_files(campaign.system, path.parent)
        assembly = _set_up(campaign, path.parent)
    except InputError as error:
        raise found.located(error) from error
    return Checked(path, campaign, assembly, path.parent, files)


def campaign_files(system: SystemSettings, directory: Path) -> dict[str, Path]:
    """The files in `directory` that a system section names, by their name in it.

    Names of OpenMM's own force fields are no files of the campaign.

    Raises
    ------
    InputError
        A file lies outside the folder.
    """
    named = {"system.topology": system.topology}
    named |= {f"system.forcefield.{position}": name for position, name in enumerate(system.forcefield)}
    if system.coordinates is not None:
        named["system.coordinates"] = system.coordinates
    for key, name in named.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(
                f"a file in the folder of the campaign was expected (got {name}): copy it there, so that folder and campaign"
                " stay together",
                key,
            )
    return {name: directory / name for name in named.values() if (directory / name).is_file()}


def _set_up(campaign: Campaign, directory: Path) -> Assembly:
    from aiida_hqe.qmmm.setup import build

    assembly = build(campaign.system, directory)
    _check_box(campaign, assembly)
    if campaign.sampling.bias is not None:
        campaign.sampling.bias.check(assembly.n_atoms)
    _check_levels(campaign, assembly)
    return assembly


def _check_box(campaign: Campaign, assembly: Assembly) -> None:
    sampling = campaign.sampling
    if assembly.box is None:
        if sampling.ensemble == "npt":
            raise InputError(
                "nvt or nve was expected without a box (got npt): solvate, or keep the volume", "sampling.ensemble"
            )
        return
    half = float(assembly.box.diagonal().min()) / 2
    if sampling.nonbonded_cutoff > half:
        raise InputError(
            f"at most half the box, {half:.2f} angstrom, was expected (got {sampling.nonbonded_cutoff:g} angstrom):"
            " make the box larger or the cutoff smaller",
            "sampling.nonbonded_cutoff",
        )


def _check_levels(campaign: Campaign, assembly: Assembly) -> None:
    """See that functional and basis exist, and that the core orbitals do, without an SCF."""
    from aiida_hqe.embedding.environment import xc_library
    from aiida_hqe.embedding.label import check as check_level
    from aiida_hqe.embedding.molecule import build_molecule

    level, frame = campaign.levels, assembly.frame()
    try:
        check_level(frame, level)
        xc_library(level.environment)
        molecule = build_molecule(frame, level.environment.basis)
    except InputError as error:
        raise InputError(str(error), f"levels.{error.key}" if error.key else None) from error
    occupied = max(molecule.nelec)
    for core, count in enumerate(level.embedding.core_orbitals or []):
        if not 1 <= count <= occupied:
            raise InputError(
                f"1 to {occupied} orbitals were expected, those that the QM region's electrons occupy (got {count})",
                f"levels.embedding.core_orbitals.{core}",
            )
