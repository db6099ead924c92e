"""What jobs leave in the repository: results, and nothing that a restart alone needs."""

from __future__ import annotations

import pytest
from aiida.plugins import CalculationFactory

from aiida_hqe.jobs import files

KEPT = {
    "prepare": {files.FINAL},
    "sample": {files.SAMPLED, files.FINAL},
    "label": set(),
    "train": {files.TRAINED, files.HISTORY},
    "predict": {files.PREDICTIONS},
}


@pytest.mark.parametrize("job", KEPT)
def test_no_checkpoint_or_trajectory_is_retrieved(job: str) -> None:
    process = CalculationFactory(f"hqe.{job}")
    assert set(process.RESULTS) == KEPT[job]
    assert set(process.READ) == ({files.LABELS} if job == "label" else set())
    assert files.CHECKPOINT not in {*process.RESULTS, *process.READ}
