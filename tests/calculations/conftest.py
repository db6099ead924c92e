from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def generate(hqe_code: Any, tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """Let a CalcJob prepare its folder; returns what it tells the engine, and the folder as the job would find it."""
    from aiida.common.folders import SandboxFolder
    from aiida.engine.utils import instantiate_process
    from aiida.manage import get_manager
    from aiida.orm import load_node
    from aiida.plugins import CalculationFactory

    def make(job: str, **inputs: Any) -> tuple[Any, Path]:
        runner = get_manager().get_runner()
        process = instantiate_process(runner, CalculationFactory(f"hqe.{job}"), code=hqe_code, **inputs)
        directory = tmp_path / job
        directory.mkdir()
        with SandboxFolder() as folder:
            info = process.prepare_for_submission(folder)
            for path in Path(folder.abspath).iterdir():
                shutil.copy(path, directory)
        for uuid, name, target in info.local_copy_list:
            (directory / target).write_bytes(load_node(uuid).base.repository.get_object_content(name, mode="rb"))
        return info, directory

    return make
