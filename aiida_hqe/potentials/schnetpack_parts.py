"""The parts of SchNetPack that potentials are built from; the one place that imports it.

SchNetPack 2.1.1 asks `torch.utils.data.dataloader` for a name that torch 2.5 removed; it is put back before the import.
"""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch.utils.data.dataloader as _dataloader

if not hasattr(_dataloader, "T_co"):
    _dataloader.T_co = TypeVar("T_co", covariant=True)  # type: ignore[misc]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch 2.11 and newer: SchNetPack uses TorchScript
    from schnetpack.nn import CosineCutoff, GaussianRBF, build_mlp
    from schnetpack.nn.ops.so3 import generate_clebsch_gordan_rsh
    from schnetpack.nn.so3 import RealSphericalHarmonics, scalar2rsh
    from schnetpack.representation import FieldSchNet, PaiNN, SO3net

__all__ = [
    "CosineCutoff",
    "FieldSchNet",
    "GaussianRBF",
    "PaiNN",
    "RealSphericalHarmonics",
    "SO3net",
    "build_mlp",
    "generate_clebsch_gordan_rsh",
    "scalar2rsh",
]
