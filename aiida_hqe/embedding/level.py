"""`Level`: everything that defines a label: environment, core method, embedding. The level file is this model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aiida_hqe.baseline.settings import BaselineName
from aiida_hqe.settings import Settings
from aiida_hqe.units import Energy, Length


class Environment(Settings):
    """Kohn-Sham level of the whole QM region in the point charges.

    `grid_response` lets forces follow the integration grid as it moves with the nuclei (about 1e-5 hartree/bohr at grid level 3).
    `charge_radius` smears each of them to a normalised Gaussian ``exp(-(r / radius)^2)``; ``None`` leaves points.
    """

    xc: str = "pbe"
    basis: str = "def2-svp"
    grid_level: int = Field(4, ge=0, le=9)
    grid_response: bool = False
    density_fit: bool = False
    xc_library: Literal["libxc", "xcfun"] = "libxc"
    dispersion: Literal["d3bj", "d4"] | None = None
    charge_radius: Length | None = Field(None, gt=0, le=10)


class Shells(Settings):
    """Virtual space truncated by concentric localization after a number of shells."""

    shells: int = Field(ge=1, le=100)


class Threshold(Settings):
    """Virtual space truncated where the MP2 energy of the next shell falls below a threshold."""

    threshold: Energy = Field(ge=0, le=100)


class CoreMethod(Settings):
    """Method of the quantum cores.

    `density_fit` fits every two-electron integral of the core in the Coulomb-exchange auxiliary basis that PySCF has for
    the orbital basis. `lno_threshold` is the smallest occupation of a virtual natural orbital that lno-ccsd(t) keeps.
    """

    method: Literal["hf", "mp2", "ccsd", "ccsd(t)", "lno-ccsd(t)"] = "ccsd(t)"
    frozen_core: bool = False
    density_fit: bool = False
    virtuals: Literal["full"] | Shells | Threshold = "full"
    lno_threshold: float = Field(1e-6, ge=0, le=1)


class LevelShift(Settings):
    """Projector mu S D_B S with mu in hartree."""

    level_shift: float = Field(gt=0, le=1e10)


class Embedding(Settings):
    """How a core is cut out of the environment and kept orthogonal to it.

    `merged_core` also computes all cores of a frame as one, to estimate the error of their sum.
    """

    projector: Literal["huzinaga", "fermi-huzinaga"] | LevelShift = "huzinaga"
    functional: Literal["linear", "nonlinear", "static"] = "linear"
    partition: Literal["spade", "ibo", "pipek-mezey"] = "spade"
    core_orbitals: list[int] | None = None
    merged_core: bool = False

    @property
    def scheme(self) -> str:
        """Name of the scheme that ranks the orbitals: unrelaxed cores keep inner shells and valence orbitals apart.

        IBO and Pipek-Mezey always do; SPADE does with the functional `static`.
        """
        return "spade-by-shell" if (self.partition, self.functional) == ("spade", "static") else self.partition


class CompositeForces(Settings):
    """Analytic forces of the same cores at another, cheaper method than that of their energies.

    The cores keep their orbitals and `frozen_core`, and correlate the full virtual space. `density_fit` fits the core's
    integrals for the forces; ``None`` leaves that as it is for the energies. Forces and energies of such a label are those
    of two methods: they are *not* derivatives of one another.
    """

    method: Literal["hf", "mp2", "ccsd", "ccsd(t)"]
    density_fit: bool | None = None


class Level(Settings):
    """A level of labels. Its JSON, sorted by key, is its identity in provenance.

    `core_orbitals` fixes the number of occupied orbitals of each core; it must be fixed within a campaign.
    `forces` asks for forces of the target level besides those of the environment, which every label has: ``analytic`` or
    ``numerical`` ones are derivatives of its energy, a `CompositeForces` names another method for them.
    `baseline` adds energy and forces of a cheap method, for a potential that learns the difference to it.
    """

    environment: Environment = Environment()
    core: CoreMethod = CoreMethod()
    embedding: Embedding = Embedding()
    forces: Literal["none", "analytic", "numerical"] | CompositeForces = "none"
    baseline: BaselineName = "none"

    @property
    def force_core(self) -> CoreMethod | None:
        """Method of the cores in the forces of the target level; ``None`` without such forces."""
        if self.forces == "none":
            return None
        if not isinstance(self.forces, CompositeForces):
            return self.core
        fitted = self.core.density_fit if self.forces.density_fit is None else self.forces.density_fit
        changes = {"method": self.forces.method, "density_fit": fitted, "virtuals": "full"}
        return self.core.model_copy(update=changes)
