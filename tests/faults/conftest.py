"""Campaigns by a real daemon, each in a profile and a process of its own, and one that nothing disturbs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disturbed import Campaign

Start = Callable[..., Campaign]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts campaigns; nothing of them is left at the end.

    Their folders have short paths, because the sockets of the daemon lie there.
    """
    with tempfile.TemporaryDirectory(prefix="hqe-") as folder:
        made: list[Campaign] = []

        def make(**options: Any) -> Campaign:
            made.append(Campaign(Path(folder) / str(len(made)), options))
            return made[-1]

        yield make
        for campaign in made:
            campaign.close()


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[dict[str, Any]]:
    """What a campaign left that nothing disturbed."""
    with tempfile.TemporaryDirectory(prefix="hqe-") as folder:
        campaign = Campaign(Path(folder) / "0", {})
        try:
            yield campaign.end()
        finally:
            campaign.close()
