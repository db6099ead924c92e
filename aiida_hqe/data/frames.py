"""`FramesData`: a batch of frames, with whatever labels they have, as one HDF5 file of one node."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from aiida.orm import SinglefileData

from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames


class FramesData(SinglefileData):
    """A batch of QM/MM frames. The file is deterministic, so that equal batches hash equal.

    Attributes hold summaries only: `n_frames`, `n_labelled` (environment level), `n_target` (target energy), `elements`
    (atomic numbers of the QM regions), `n_qm` and `n_mm` (the most of a frame), the quartiles of `disagreement` where
    the frames carry it, and `index`: the beginning of each frame's hash, so that a query finds the nodes that hold a frame.
    """

    FILENAME = "frames.h5"
    DIGITS = 16

    @classmethod
    def from_frames(cls, frames: Frames) -> FramesData:
        """An unstored node of `frames`; equal frames in equal order make nodes of equal hash."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / cls.FILENAME
            frames.write(path)
            node = cls(path, filename=cls.FILENAME)
        node.base.attributes.set_many(_summary(frames))
        return node

    @classmethod
    def from_file(cls, path: str | Path) -> FramesData:
        """An unstored node of the frames in an extended XYZ or HDF5 file.

        Raises
        ------
        InputError
            What `Frames.read` raises.
        """
        return cls.from_frames(Frames.read(path))

    @property
    def frames(self) -> Frames:
        """The frames, read from the repository.

        Raises
        ------
        IntegrityError
            The file in the repository is damaged.
        """
        with self.as_path() as path:
            return Frames.read(path)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.base.attributes.get("n_frames")

    @property
    def n_labelled(self) -> int:
        """Number of frames that have a label of the environment level."""
        return self.base.attributes.get("n_labelled")

    @property
    def n_target(self) -> int:
        """Number of frames that have a target-level energy."""
        return self.base.attributes.get("n_target")

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur in the QM regions, ascending."""
        return self.base.attributes.get("elements")

    def find(self, prefix: str) -> Frame:
        """The frame whose content hash starts with `prefix`.

        Raises
        ------
        InputError
            No frame of the batch, or more than one, starts so.
        """
        found = [frame for frame in self.frames if frame.hash.startswith(prefix)]
        if len(found) != 1:
            raise InputError(
                f"one frame {prefix!r} was expected in node {self.pk} (got {len(found)}): give more digits"
            )
        return found[0]


def _summary(frames: Frames) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "n_frames": len(frames),
        "n_labelled": sum(frame.environment_energy is not None for frame in frames),
        "n_target": sum(frame.energy is not None for frame in frames),
        "n_qm": max((frame.n_qm for frame in frames), default=0),
        "n_mm": max((frame.n_mm for frame in frames), default=0),
        "elements": sorted({int(number) for frame in frames for number in frame.numbers}),
        "index": "".join(f"|{key[: FramesData.DIGITS]}" for key in frames.hashes),
    }
    spread = [float(frame.info["disagreement"]) for frame in frames if "disagreement" in frame.info]
    if spread:
        summary["disagreement"] = [float(value) for value in np.quantile(spread, [0, 0.25, 0.5, 0.75, 1])]
    return summary
