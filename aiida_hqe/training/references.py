"""`shifts`: what a trained network leaves of the energies, on average.

Forces say nothing about a constant, and hundreds of them outweigh one energy: the output of a trained network may be off by a
constant much larger than its scatter about it. References of energy take up what is left, once the network is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from aiida_hqe.frames import Floats
from aiida_hqe.potentials.member import fit_references
from aiida_hqe.potentials.model import Potential
from aiida_hqe.training.batches import Block


def shifts(network: Potential, blocks: Sequence[Block]) -> dict[int, float]:
    """Energy per element (eV) with which the mean errors of energies vanish, as far as elements can tell frames apart.

    Parameters
    ----------
    network
        Trained network.
    blocks
        All frames that it may learn from, references of energy subtracted; those of the validation fold too, for a constant is
        not what they are held back for.
    """
    atoms = [np.array(block.numbers) for block in blocks for _ in block.hashes]
    return fit_references(atoms, np.concatenate([_residuals(network, block) for block in blocks]))


def shifted(references: Mapping[int, float], by: Mapping[int, float]) -> dict[int, float]:
    """References of energy, moved."""
    return {element: value + by.get(element, 0.0) for element, value in references.items()}


def _residuals(network: Potential, block: Block) -> Floats:
    """Energies of the labels less those of the network (B,), eV."""
    wanted = block.tensors[4]
    with torch.no_grad():
        found = network(torch.tensor(block.numbers, device=wanted.device), *block.seen)
    residuals: Floats = (wanted - found).double().numpy()
    return residuals
