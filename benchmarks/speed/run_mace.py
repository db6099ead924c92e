"""CPU time of energy and forces of a small random MACE, for a python of its own that has mace-torch (`MACE_PYTHON`).

Reads ``{"numbers": [...], "positions": [...]}`` from standard input and writes milliseconds per call as JSON: of the bare model
with its graph of neighbours at hand, and through MACE's ASE calculator, which finds the neighbours at each step.
"""

# ruff: noqa: E402

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

warnings.filterwarnings("ignore")

import ase
import mace  # noqa: F401 (first: it tells torch how e3nn's constants are to be read)
import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.calculators import MACECalculator
from mace.tools import AtomicNumberTable, torch_geometric


def small_model(elements: list[int]) -> torch.nn.Module:
    """Two layers of 64 scalars and 64 vectors, cutoff 5 angstrom, correlation 3."""
    blocks = modules.interaction_classes
    return modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=blocks["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=blocks["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps("64x0e + 64x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=15.0,
        atomic_numbers=elements,
        correlation=3,
        radial_type="bessel",
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def milliseconds(work: Callable[[], object], calls: int = 10, repeats: int = 5) -> list[float]:
    """CPU time per call, of each repeat, ascending."""
    for _ in range(3):
        work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            work()
        found.append(1e3 * (time.process_time() - start) / calls)
    return sorted(found)


def main() -> None:
    """Measure."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    asked = json.load(sys.stdin)
    numbers, positions = np.array(asked["numbers"]), np.array(asked["positions"])
    elements = sorted(set(numbers.tolist()))
    model, atoms = small_model(elements), ase.Atoms(numbers, positions)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "random.model")
        torch.save(model, path)
        atoms.calc = MACECalculator(model_paths=path, device="cpu", default_dtype="float32")
    table, generator = AtomicNumberTable(elements), np.random.default_rng(0)
    graph = data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=5.0)
    batch = next(iter(torch_geometric.dataloader.DataLoader([graph], batch_size=1))).to_dict()

    def step() -> None:
        atoms.positions = positions + generator.normal(0.0, 1e-3, positions.shape)
        atoms.get_potential_energy()
        atoms.get_forces()

    found = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "torch": torch.__version__,
        "bare": milliseconds(lambda: model(batch, compute_force=True)),
        "calculator": milliseconds(step),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
