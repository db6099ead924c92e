"""`PrepareCalculation`: builds and equilibrates the molecular assembly."""

from __future__ import annotations

from typing import Any

from aiida.common.folders import Folder
from aiida.orm import Dict, FolderData, SinglefileData

from aiida_hqe.calculations.base import HQECalculation, valid, write_settings
from aiida_hqe.jobs import files


class PrepareCalculation(HQECalculation):
    """``hqe-job prepare``: topology and force field to an equilibrated assembly."""

    JOB = "prepare"
    RESULTS = (files.FINAL,)

    @classmethod
    def define(cls, spec: Any) -> None:
        """Ports of a prepare job."""
        super().define(spec)
        spec.input("settings", valid_type=Dict, validator=valid(files.PrepareJob), help="System, dynamics, seed.")
        spec.input(
            "files", valid_type=FolderData, validator=_names_of_their_own, help="The files that the system names."
        )
        spec.output("assembly", valid_type=SinglefileData, required=False, help="Equilibrated assembly.")

    def write(self, folder: Folder) -> None:
        """Write the settings."""
        write_settings(folder, files.SETTINGS, files.PrepareJob, self.inputs.settings)

    def copies(self) -> list[tuple[str, str, str]]:
        """Every file of the folder, under its own name."""
        node = self.inputs.files
        return [(node.uuid, name, name) for name in node.base.repository.list_object_names()]


def _names_of_their_own(node: FolderData | None, _port: Any) -> str | None:
    """Refuse files that would take the place of the job's script or of a file that it writes."""
    names = [] if node is None else node.base.repository.list_object_names()
    taken = [name for name in names if name[0] in "._-" or name in _TAKEN]
    return f"file names of their own were expected (got {taken[0]!r}, which the job uses): rename it" if taken else None


_TAKEN = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str)}
