"""`SystemSettings`: topology, force field, QM region, cores and electrostatic cutoff of a molecular assembly."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aiida_hqe.settings import Settings
from aiida_hqe.units import Concentration, Length


class Selection(Settings):
    """Atoms by 0-based index, or all atoms of the residues of a name; exactly one of the two."""

    atoms: list[int] | None = None
    residues: list[str] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Selection:
        if (self.atoms is None) == (self.residues is None) or not (self.atoms or self.residues):
            raise ValueError("either a list of atoms (0-based indices) or a list of residues (names)")
        return self


class Solvation(Settings):
    """Water added around the solute by OpenMM's Modeller, in a cubic box."""

    model: Literal["tip3p", "spce", "tip4pew", "tip5p"] = "tip3p"
    box: Length | None = Field(None, gt=0)
    padding: Length | None = Field(None, gt=0)
    ionic_strength: Concentration = Field(0.0, ge=0, le=10)
    neutralize: bool = True

    @model_validator(mode="after")
    def _one_size(self) -> Solvation:
        if (self.box is None) == (self.padding is None):
            raise ValueError("either box (edge length) or padding (solute to box edge)")
        return self


class SystemSettings(Settings):
    """One molecular assembly, as the ``system`` section of a campaign file.

    `topology` is a PDB/mmCIF file with `forcefield` (names of OpenMM's own files or paths of XML files), or an Amber prmtop
    with `coordinates` (inpcrd). Paths are relative to the campaign file. Whole MM molecules act on the QM region up to
    `cutoff`, and their charges are switched off over the last `switch_width`.
    """

    topology: str
    forcefield: list[str] = Field(default_factory=list)
    coordinates: str | None = None
    solvate: Solvation | None = None
    qm: Selection
    cores: list[Selection] = Field(default_factory=list)
    charge: int
    spin: int = Field(0, ge=0, le=1000)
    cutoff: Length = Field(9.0, gt=0, le=1000)
    switch_width: Length = Field(1.5, gt=0, le=1000)

    @model_validator(mode="after")
    def _switch_inside(self) -> SystemSettings:
        if self.switch_width >= self.cutoff:
            raise ValueError("switch_width smaller than cutoff")
        return self
