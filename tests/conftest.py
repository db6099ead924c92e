"""Fixtures for every test: AiiDA's own (a profile in a temporary folder, no services), and no trace in the user's home."""

from __future__ import annotations

import os
from pathlib import Path

_CACHE = Path(__file__).resolve().parent.parent / ".cache"

# Importing aiida makes its configuration folder: not in the user's home, even where pytest is called without make.
os.environ["AIIDA_PATH"] = str(_CACHE / "aiida")
(_CACHE / "aiida" / ".aiida").mkdir(parents=True, exist_ok=True)

pytest_plugins = ["aiida.tools.pytest_fixtures"]
