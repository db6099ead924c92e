"""Base class of every settings model: unknown keys are errors, values are frozen, JSON dumps validate again."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen pydantic model that forbids unknown keys; each room states its own settings with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
