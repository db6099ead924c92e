"""The page of quantities defines every number there is, and its example is a file that can be read."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from pathlib import Path

import pytest

from aiida_hqe.extxyz import read_frames
from aiida_hqe.frames import Frame
from aiida_hqe.labels import CoreLabel, Label
from aiida_hqe.predictions import Prediction, Residuals
from aiida_hqe.selection.calibration import Calibration

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "quantities.md").read_text()
NAMES = {
    **{f"frame.{field.name}": field.name for field in dataclasses.fields(Frame) if field.name != "info"},
    **{f"prediction.{field.name}": field.name for field in dataclasses.fields(Prediction)},
    **{f"residuals.{field.name}": field.name for field in dataclasses.fields(Residuals)},
    **{f"{model.__name__}.{name}": name for model in (Label, CoreLabel, Calibration) for name in model.model_fields},
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_field_is_defined(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_example_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"\n\n((?:    .*\n)*    Properties=(?:.*\n)(?:    .*\n)*)", PAGE)
    (tmp_path / "example.xyz").write_text(textwrap.dedent(example))
    (frame,) = read_frames(tmp_path / "example.xyz")
    assert (frame.n_qm, frame.n_mm, frame.n_cores, frame.environment_energy) == (2, 1, 1, -31.7)
    assert frame.environment_mm_forces is not None
