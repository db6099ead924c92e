"""A progress bar on standard error; where that is no terminal, its label alone."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import click


class Bar:
    """Progress of one long step, told as (done, total).

    Parameters
    ----------
    label
        What is going on.
    """

    def __init__(self, label: str) -> None:
        self._bar: Any = click.progressbar(length=1000, label=label, file=click.get_text_stream("stderr"))

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def reach(self, done: int, total: int) -> None:
        """Draw the bar at `done` of `total`."""
        self._bar.update(1000 * done // max(total, 1) - self._bar.pos)
