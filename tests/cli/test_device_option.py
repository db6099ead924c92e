"""``--device`` of the commands in which networks compute: what is not there is said in one line, before anything is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import printed, refused
from small_systems import methanol, system_file

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings

SETTINGS = PotentialSettings(features=4, interactions=1, radial_functions=4)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """A command line of each kind, in a folder with frames, a system and a committee, on a machine without a GPU."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    frames = [
        Frame(
            numbers=[1, 1],
            positions=[[0, 0, 0], [0.7 + 0.01 * number, 0, 0]],
            charge=0,
            spin=0,
            mm_numbers=[],
            mm_positions=np.zeros((0, 3)),
            mm_charges=[],
            environment_energy=-30.0,
            environment_forces=np.zeros((2, 3)),
            environment_mm_forces=np.zeros((0, 3)),
        )
        for number in range(4)
    ]
    Frames(frames).write(tmp_path / "frames.h5")
    networks = [Network(build(SETTINGS, 0, seed=k).state_dict(), {1: -15.0}, True) for k in range(2)]
    members = [Member(k, 1, {"environment": network}) for k, network in enumerate(networks)]
    committee = Committee(members, settings=SETTINGS, learn="direct", elements=[1], charge=0, spin=0)
    committee.save(tmp_path / "committee.safetensors")
    (tmp_path / "system.yaml").write_text(system_file(methanol(16, 6)))
    return [
        ["predict", tmp_path / "committee.safetensors", tmp_path / "frames.h5"],
        ["train", tmp_path / "frames.h5", "-o", tmp_path / "new.safetensors"],
        ["sample", tmp_path / "system.yaml", tmp_path / "committee.safetensors", "-o", tmp_path / "new.h5"],
    ]


@pytest.mark.parametrize("command", range(3), ids=["predict", "train", "sample"])
def test_a_gpu_that_is_not_there_is_a_lack_of_the_machine(
    commands: list[list[object]], command: int, tmp_path: Path
) -> None:
    line = refused(*commands[command], "--device", "cuda", code=1)
    assert "a GPU was expected for the device cuda" in line
    assert "choose the device cpu" in line
    assert not list(tmp_path.glob("new.*"))


@pytest.mark.parametrize("command", range(3), ids=["predict", "train", "sample"])
def test_what_is_no_device_is_bad_input(commands: list[list[object]], command: int) -> None:
    assert "a device was expected, cpu, cuda, or cuda:1 and so on (got 'gpu')" in refused(
        *commands[command], "--device", "gpu"
    )


def test_the_processor_is_the_device_where_none_is_named(commands: list[list[object]]) -> None:
    assert printed(*commands[0]) == printed(*commands[0], "--device", "cpu")
