"""Look at an AiiDA archive before it is imported: nothing in it may run, and it must fit on the disk."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from aiida_hqe.errors import InputError, ResourceError

DAMAGED = (SQLAlchemyError, zipfile.BadZipFile, zlib.error, OSError, KeyError, ValueError)
"""What a damaged archive leads to in reading it, besides AiiDA's own errors."""


def check_archive(path: Path) -> None:
    """Refuse an archive that is none, that does not fit, or that holds a process which the daemon could continue.

    AiiDA restores an unfinished process from its checkpoint, which is YAML that may name any class; so every process must
    have ended.

    Raises
    ------
    InputError
        It is no archive, or holds such a process.
    ResourceError
        It would not fit on the disk of the temporary folder.
    """
    from aiida import orm
    from aiida.common.exceptions import AiidaException
    from aiida.tools.archive.abstract import get_format

    _check_size(path)
    try:
        with get_format().open(path, "r") as archive:
            query = archive.querybuilder()
            unfinished = {"or": [{"attributes": {"!has_key": "sealed"}}, {"attributes": {"has_key": "checkpoints"}}]}
            query.append(orm.ProcessNode, filters=unfinished, project="uuid")
            found = query.first(flat=True)
    except (AiidaException, *DAMAGED) as error:
        raise InputError(f"{path}: an AiiDA archive was expected ({_line(error)}): export it anew") from error
    if found is not None:
        raise InputError(
            f"{path}: an archive of ended processes was expected (process {found} could be continued): export it anew"
        )


def _check_size(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: an AiiDA archive was expected ({_line(error)}): export it anew") from error
    free = shutil.disk_usage(path.absolute().parent).free
    if size > free:
        raise ResourceError(f"{path}: {free} free bytes cannot hold its {size}: make room, or go to another disk")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
