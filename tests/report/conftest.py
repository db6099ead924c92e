from __future__ import annotations

import pytest
from sample_record import sample_record

from aiida_hqe.report.record import CampaignRecord


@pytest.fixture
def record() -> CampaignRecord:
    return sample_record()
