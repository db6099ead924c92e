"""`Checkpoint`: all that a sampling run needs to go on, to the last bit, where it was killed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiida_hqe import hdf5
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Floats, Frames
from aiida_hqe.writing import replacing

_DIGEST = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a run at the end of an interval.

    Attributes
    ----------
    key
        Hash of everything that the run was asked to do.
    finished
        Steps and reason to stop of the walkers that came to an end.
    done
        Steps of the present walker.
    state
        OpenMM's own checkpoint of its context; good for the same machine and OpenMM only.
    heights
        Bias potential on its grid (eV), empty without one.
    frames
        Kept so far by all walkers, and how many of them by the present one.
    """

    key: str
    finished: list[tuple[int, str | None]]
    done: int
    state: bytes
    heights: Floats
    frames: Frames
    own_frames: int

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        facts = {"key": self.key, "finished": self.finished, "done": self.done, "own_frames": self.own_frames}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
            state=np.frombuffer(self.state, dtype=np.uint8),
            frames=np.frombuffer(_to_bytes(self.frames), dtype=np.uint8),
            heights=self.heights,
        )
        content = buffer.getvalue()
        with replacing(path) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)

    @classmethod
    def read(cls, path: Path, key: str) -> Checkpoint | None:
        """The checkpoint of a run with this key; ``None`` if there is no file.

        Raises
        ------
        InputError
            The file belongs to another run.
        IntegrityError
            It is truncated or damaged.
        """
        if not path.is_file():
            return None
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            raise IntegrityError(
                f"{path}: a whole checkpoint was expected (got a damaged one): remove it, and the run starts anew"
            )
        with np.load(io.BytesIO(content[_DIGEST:]), allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())
            if facts["key"] != key:
                raise InputError(
                    f"{path}: a checkpoint of this run was expected (got one of other settings or another assembly): remove it,"
                    " or restore the run's input"
                )
            frames = _from_bytes(arrays["frames"].tobytes())
            finished = [(int(steps), reason) for steps, reason in facts["finished"]]
            return cls(
                key, finished, facts["done"], arrays["state"].tobytes(), arrays["heights"], frames, facts["own_frames"]
            )


def key_of(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """Hash of what a run was asked to do."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _to_bytes(frames: Frames) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        hdf5.write_frames(Path(folder) / "frames.h5", frames)
        return (Path(folder) / "frames.h5").read_bytes()


def _from_bytes(content: bytes) -> Frames:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "frames.h5").write_bytes(content)
        return hdf5.read_frames(Path(folder) / "frames.h5")
