"""What commands on files refuse before anything is read or computed: numbers out of reach, and files of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiida_hqe.errors import InputError

if TYPE_CHECKING:
    from aiida_hqe.campaign.document import Document

THREADS = 1024
"""The most threads of a command; more than any machine has."""

SEED = 2**31 - 1
"""The largest seed, as in a campaign file."""

MEMBERS = 100
"""The largest committee, as in a campaign file."""

ROUNDS = 1000
"""The most rounds, as in a campaign file."""

_OTHERS = frozenset({".xyz", ".extxyz", ".h5", ".hdf5", ".pdb", ".cif", ".yaml", ".yml"})


def a_committee(path: Path) -> Path:
    """`path`, unless its name says that it is no committee: its place on the command line was another's.

    Raises
    ------
    InputError
        It is a file of frames, a structure or settings by its name.
    """
    if path.suffix in _OTHERS:
        raise InputError(f"{path}: a committee (.safetensors) was expected: give what `train` wrote, in this place")
    return path


def whole_campaign(found: Document, wanted: str, content: str) -> None:
    """Refuse a whole campaign file where a part of one is asked for.

    Raises
    ------
    InputError
        The document has the sections ``system`` and ``levels``.
    """
    if {"system", "levels"} <= set(found.data):
        raise InputError(f"{found.path}: {wanted} was expected (got a campaign file): write a file with {content}")
