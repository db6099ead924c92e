"""How files are written: whole or not at all, and a full disk is told from a place where nothing can be written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiida_hqe.errors import InputError, ResourceError

if TYPE_CHECKING:
    import h5py

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the system's errors that mean a full disk, or a file that may not grow."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses inside is told of `path`.

    Raises
    ------
    InputError
        Nothing can be written there.
    ResourceError
        The disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split())
        if error.errno in FULL:
            raise ResourceError(f"{path}: room on the disk was expected (got {reason}): make room there") from error
        raise InputError(f"{path}: a place to write was expected (got {reason}): check the path") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a temporary file next to `path`, which takes its place once it is whole; nothing is left if writing fails.

    Raises as `writing`; a device, or a folder, is no place for a file.
    """
    path = path.resolve() if path.is_symlink() else path
    if not path.name or (path.exists() and not path.is_file()):
        got = "a folder" if path.is_dir() else "a device or a pipe"
        raise InputError(f"{path}: the name of a file was expected (got {got}): choose another")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            yield temporary
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def creating(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file, which takes the place of `path` once it is whole; raises as `writing`."""
    import h5py

    with replacing(path) as temporary, _Sink(temporary, "w+b") as sink:
        try:
            with h5py.File(sink, "w", track_order=False) as file:
                yield file
        except RuntimeError:  # of HDF5, which reads what could not be written
            if sink.failure is None:
                raise
        if sink.failure is not None:
            raise sink.failure


class _Sink(io.FileIO):
    """A file of which HDF5 does not hear that it cannot be written: on a full disk it would end the whole process.

    Attributes
    ----------
    failure
        Why it cannot.
    """

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of `content`, if nothing has failed so far."""
        view = memoryview(content).cast("B")
        size = len(view)
        try:
            while view and self.failure is None:
                view = view[super().write(view) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Change the size, if nothing has failed so far."""
        try:
            return self.tell() if self.failure is not None else super().truncate(size)
        except OSError as error:
            self.failure = error
            return self.tell()
