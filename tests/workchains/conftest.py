from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cheap_campaign import CHEAP, SYSTEM

import aiida_hqe.campaign

TEMPLATE = Path(aiida_hqe.campaign.__file__).parent / "templates" / "methanol-water"


@pytest.fixture(scope="module")
def cheap_builder(hqe_code: Any) -> Any:
    """Builder of a whole campaign at a cheap but real level; anew at each call."""
    from aiida_hqe.workchains.campaign import CampaignWorkChain

    def make(**changes: Any) -> Any:
        return CampaignWorkChain.get_builder_from_protocol(hqe_code, SYSTEM, TEMPLATE, "fast", CHEAP | changes)

    return make
