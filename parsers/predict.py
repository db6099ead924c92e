"""`PredictParser`: ``predictions.h5`` to a node."""

from __future__ import annotations

from aiida.engine import ExitCode

from aiida_hqe.jobs import files
from aiida_hqe.parsers.base import HQEParser


class PredictParser(HQEParser):
    """Predictions are read once, so that a damaged file is found here."""

    def results(self, status: files.Status) -> ExitCode | None:
        """Put out ``predictions``."""
        from aiida_hqe.hdf5 import read_predictions
        from aiida_hqe.residuals import holds_residuals, read_residuals

        with self.path(files.PREDICTIONS) as path:
            (read_residuals if holds_residuals(path) else read_predictions)(path)
        self.out("predictions", self.file(files.PREDICTIONS))
        return None
