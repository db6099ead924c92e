"""What jobs leave in the repository: results, and nothing that a restart alone needs."""

from __future__ import annotations

import pytest
from aiida.plugins import CalculationFactory

from aiida_hqe.jobs import files

KEPT = {
    "prepare": {files.FINAL},
    "sample": {files.SAMPLED, files.FINAL},
    "label": {files.LABELS},
    "train": {files.TRAINED, files.HISTORY},
    "predict": {files.PREDICTIONS},
}


@pytest.mark.parametrize("job", KEPT)
def test_no_checkpoint_or_trajectory_is_retrieved(job: str) -> None:
    results = CalculationFactory(f"hqe.{job}").RESULTS
    assert set(results) == KEPT[job]
    assert files.CHECKPOINT not in results
