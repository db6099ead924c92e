"""The documents say what the code does: keys of the campaign file, commands, exit codes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["campaign-file.md", "cli.md", "exit-codes.md"])
def test_a_document_is_what_the_code_says(generate: ModuleType, name: str) -> None:
    written = (DOCS / name).read_text().splitlines()
    expected = generate.documents()[DOCS / name].splitlines()
    assert written == expected, "run `make docs`"


def test_every_key_of_the_campaign_file_has_a_meaning(generate: ModuleType) -> None:
    text = (DOCS / "campaign-file.md").read_text()
    assert "`selection.target_force_error`" in text
    assert generate.UNDESCRIBED not in text
