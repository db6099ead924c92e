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
        spec.input("files", valid_type=FolderData, help="The files that the system names.")
        spec.output("assembly", valid_type=SinglefileData, required=False, help="Equilibrated assembly.")

    def write(self, folder: Folder) -> None:
        """Write the settings."""
        write_settings(folder, files.SETTINGS, files.PrepareJob, self.inputs.settings)

    def copies(self) -> list[tuple[str, str, str]]:
        """Every file of the folder, under its own name."""
        node = self.inputs.files
        return [(node.uuid, name, name) for name in node.base.repository.list_object_names()]
