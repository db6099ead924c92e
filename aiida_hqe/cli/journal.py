"""`Journal`: labels written one by one beside an output file, so that a killed command goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.labels import Label
from aiida_hqe.writing import writing


class Journal:
    """Finished labels by the hash of their frame, and the file (if any) that keeps them.

    The first line of the file is the level, each other one a label; a last line that was cut short is dropped. Labels
    that failed are tried again.

    Raises
    ------
    InputError
        The file holds labels of another level.
    IntegrityError
        A line of the file is damaged.
    """

    def __init__(self, path: Path | None, level: Level) -> None:
        self.path = path
        self.labels: dict[str, Label] = {}
        self._head = level.model_dump_json()
        if path is not None and path.exists():
            self._resume(path)
        elif path is not None:
            self._append(self._head)

    @classmethod
    def beside(cls, output: Path | None, level: Level) -> Journal:
        """The journal of the output file `output`; one in memory without it."""
        return cls(None if output is None else output.with_name(output.name + ".labels.jsonl"), level)

    def add(self, label: Label) -> None:
        """Keep a label, on disk before this returns."""
        self.labels[label.frame] = label
        if self.path is not None:
            self._append(label.model_dump_json())

    def keep(self, levels: Mapping[str, Level | InputError]) -> None:
        """Forget labels whose cores have other numbers of orbitals than `levels` (by the hash of the frame) say."""
        for frame, label in list(self.labels.items()):
            level = levels.get(frame)
            counts = level.embedding.core_orbitals if isinstance(level, Level) else None
            if counts is not None and label.cores and [core.orbitals for core in label.cores] != counts:
                del self.labels[frame]

    def close(self) -> None:
        """Remove the file: its labels are in the output."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        assert self.path is not None
        with writing(self.path), self.path.open("a") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _resume(self, path: Path) -> None:
        content = path.read_bytes()
        complete, newline, _ = content.rpartition(b"\n")
        os.truncate(path, len(complete) + len(newline))
        lines = complete.splitlines()
        if not lines:
            self._append(self._head)
            return
        if lines[0] != self._head.encode():
            raise InputError(
                f"{path}: labels of the same level were expected (got another): remove the file to start anew"
            )
        try:
            found = [Label.model_validate_json(line) for line in lines[1:]]
        except ValidationError as error:
            raise IntegrityError(
                f"{path}: labels, one a line, were expected (got damaged ones): remove the file"
            ) from error
        self.labels = {label.frame: label for label in found if label.status == "ok"}


def check_apart(output: Path | None, other: Path | None, what: str) -> None:
    """Raise `InputError` where `output` would take the place of the file `other`, which is `what`."""
    if output is not None and other is not None and output.resolve() == other.resolve():
        raise InputError(f"{output}: another file than {what} was expected: it would be lost; choose another name")


def check_output(path: Path | None, suffixes: tuple[str, ...] = (".xyz", ".extxyz", ".h5", ".hdf5")) -> None:
    """Raise `InputError` unless a file of one of the kinds `suffixes` can be written at `path`."""
    if path is None:
        return
    if path.suffix not in suffixes:
        kinds = " or ".join(suffixes)
        raise InputError(f"{path}: an output file ending in {kinds} was expected (got {path.suffix or 'no ending'})")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(
            f"{path}: a file in a folder that can be written was expected: make the folder, or name another"
        )
