"""Templates: campaign folders to start from."""

from __future__ import annotations

import shutil
from pathlib import Path

from aiida_hqe.errors import InputError, ResourceError

CAMPAIGN = "campaign.yaml"
"""Name of the campaign file in a template."""

_TEMPLATES = Path(__file__).with_name("templates")


def names() -> list[str]:
    """Names of the templates."""
    return sorted(folder.name for folder in _TEMPLATES.iterdir() if (folder / CAMPAIGN).is_file())


def copy(name: str, directory: str | Path) -> list[Path]:
    """Copy the files of a template into `directory`, which is made where it is missing.

    Returns
    -------
    list of Path
        The files written, the campaign file first.

    Raises
    ------
    InputError
        There is no such template, `directory` is a file, or it holds one of the files already.
    ResourceError
        The folder cannot be written.
    """
    directory = Path(directory)
    if name not in names():
        raise InputError(f"a template, one of {', '.join(names())}, was expected (got {name!r})")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: a folder was expected (got a file): choose another name")
    sources = sorted((_TEMPLATES / name).iterdir(), key=lambda path: (path.name != CAMPAIGN, path.name))
    for source in sources:
        if (directory / source.name).exists():
            raise InputError(
                f"{directory}: a folder without {source.name} was expected: choose another, nothing is overwritten"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(source, directory / source.name)) for source in sources]
    except OSError as error:
        raise ResourceError(
            f"{directory}: a folder that can be written was expected ({error.strerror}): choose another"
        ) from error
