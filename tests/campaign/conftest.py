"""A campaign folder, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aiida_hqe.campaign.template import copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The methanol-water template, copied."""
    copy("methanol-water", tmp_path / "campaign")
    return tmp_path / "campaign"


@pytest.fixture
def edited(folder: Path) -> Callable[[str, str], Path]:
    """Campaign file with one text replaced by another."""

    def edit(old: str, new: str) -> Path:
        path = folder / "campaign.yaml"
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} must occur once"
        path.write_text(text.replace(old, new))
        return path

    return edit
