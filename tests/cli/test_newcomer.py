"""Slips of somebody's first day with the commands on files: one line each, before anything is computed or overwritten."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from aiida.common.exceptions import IncompatibleStorageSchema
from click.testing import CliRunner
from commands import printed, refused, run
from small_systems import methanol, system_file
from sqlalchemy.exc import DatabaseError

from aiida_hqe.campaign import document
from aiida_hqe.campaign.template import copy
from aiida_hqe.cli import main, profile, root, services, setup, watch
from aiida_hqe.cli.sample import SystemFile
from aiida_hqe.errors import InputError, ResourceError
from aiida_hqe.qmmm.setup import build
from aiida_hqe.writing import replacing

WATER = """3
Properties=species:S:1:pos:R:3 charge=0 spin=0
O 0.0 0.0 0.0
H 0.96 0.0 0.0
H -0.24 0.93 0.0
"""


def system(steps: int, **others: Any) -> str:
    return system_file(methanol(18, 6), steps=steps, interval=5, nonbonded_cutoff="8 angstrom", **others)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The template's files, a frame, a level and a system file, in the present folder."""
    copy("methanol-water", tmp_path)
    (tmp_path / "water.xyz").write_text(WATER)
    (tmp_path / "level.yaml").write_text("environment: {basis: sto-3g, grid_level: 0}\ncore: {method: hf}\n")
    (tmp_path / "system.yaml").write_text(system(steps=4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("check", "aiida-hqe check: missing argument 'CAMPAIGN' (see `aiida-hqe check --help`)"),
        ("check a b", "aiida-hqe check: got unexpected extra argument (b) (see `aiida-hqe check --help`)"),
        ("check --jsn x", "aiida-hqe check: no such option: --jsn Did you mean --json? (see `aiida-hqe check --help`)"),
        ("--foo", "aiida-hqe: no such option: --foo (see `aiida-hqe --help`)"),
        ("lable", "aiida-hqe: no such command 'lable': did you mean 'label'? (see `aiida-hqe --help`)"),
        ("train x", "aiida-hqe train: missing option '-o' / '--output' (see `aiida-hqe train --help`)"),
        (
            "train x -o y --members 1",
            "aiida-hqe train: invalid value for '--members': 1 is not in the range 2<=x<=100 (see `aiida-hqe train --help`)",
        ),
    ],
)
def test_a_misused_command_is_one_line_that_names_its_help(arguments: str, line: str) -> None:
    result = CliRunner().invoke(main, shlex.split(arguments), prog_name="aiida-hqe")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{line}\n"


def test_no_command_at_all_is_answered_with_the_help() -> None:
    assert "On campaigns in AiiDA" in run().output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("label water.xyz --level campaign.yaml", "a level file was expected (got a campaign file)"),
        ("cores water.xyz --level campaign.yaml", "a level file was expected (got a campaign file)"),
        ("sample campaign.yaml -o f.h5", "a system file was expected (got a campaign file)"),
        ("predict water.xyz water.xyz", "a committee (.safetensors) was expected"),
        ("sample system.yaml water.xyz -o f.h5", "a committee (.safetensors) was expected"),
        ("label water.xyz --level level.yaml -o ./water.xyz", "another file than the one that is read"),
        ("cores water.xyz --mark ./water.xyz", "another file than the one that is read"),
        ("sample system.yaml -o f.h5 --final ./f.h5", "another file than that of --final"),
        ("sample system.yaml -o f.h5 --start f.h5", "another file than that of --start"),
        ("sample system.yaml -o f.h5", "system.yaml:2: sampling.steps: at least one interval, 5, was expected (got 4)"),
        ("sample system.yaml -o f.h5 --seed 2147483648", "0<=x<=2147483647"),
        ("extend 1 --iterations 1001", "1<=x<=1000"),
        ("train water.xyz -o c.safetensors --seed 2147483648", "0<=x<=2147483647"),
        ("label water.xyz --level level.yaml --threads 100000000000", "1<=x<=1024"),
        ("cores water.xyz --location nan", "--location: a number above zero was expected (got nan)"),
        ("cores water.xyz --location inf", "0<x<=2"),
        ("cores water.xyz --kinetic 5", "an energy with its unit"),
        ("check methanol.pdb", "a mapping of settings, `key: value`, was expected (got a text)"),
        ("check /dev/null", "a YAML file was expected (got no ordinary file)"),
    ],
)
def test_a_slip_is_told_before_anything_is_computed(folder: Path, arguments: str, words: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert words in refused(*shlex.split(arguments))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_bias_on_an_atom_that_is_not_there_is_told_before_the_system_is_prepared(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bias = {"centre": "2 angstrom", "distances": [[0, 4], [4, 99999]]}
    (folder / "system.yaml").write_text(system(steps=5, bias=bias))
    build(document.read(folder / "system.yaml", SystemFile).system, folder).write(folder / "start.h5")
    monkeypatch.setattr("aiida_hqe.dynamics.prepare.prepare", lambda *_, **__: pytest.fail("the system was prepared"))
    for arguments in ([], ["--start", "start.h5"]):
        line = refused("sample", "system.yaml", "-o", "f.h5", *arguments)
        assert line.startswith("system.yaml:2: sampling.bias.distances.1: an atom from 0 to ")
        assert line.endswith("(got 99999): count from 0, water that was added included")


def test_an_assembly_that_is_not_there_is_told_by_its_own_name(folder: Path) -> None:
    (folder / "system.yaml").write_text(system(steps=5))
    assert refused("sample", "system.yaml", "-o", "f.h5", "--start", "no.h5").startswith("no.h5: an assembly")


def test_tabs_come_with_the_remedy(folder: Path) -> None:
    (folder / "level.yaml").write_text("core:\n\tmethod: hf\n")
    assert "indent with spaces" in refused("label", "water.xyz", "--level", "level.yaml")


def test_a_mark_of_byte_order_is_no_part_of_the_first_number(folder: Path) -> None:
    (folder / "bom.xyz").write_bytes(b"\xef\xbb\xbf" + WATER.replace("\n", "\r\n").encode())
    assert printed("label", "bom.xyz", "--level", "level.yaml") is not None


@pytest.mark.parametrize("name", ["größtes System", "-dash", "it's"])
def test_the_next_commands_can_be_pasted(folder: Path, name: str) -> None:
    words = shlex.split(printed("init", "--", name).splitlines()[1].split("`")[1])
    assert words[:2] == ["aiida-hqe", "check"]
    assert Path(words[2]).is_file()
    assert not words[2].startswith("-")


def test_what_the_system_refuses_is_one_line_and_a_failure(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refusing(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "campaign.yaml")

    monkeypatch.setattr("aiida_hqe.campaign.check.check", refusing)
    line = refused("check", "campaign.yaml", code=1)
    assert line == (
        "campaign.yaml: a file or folder that can be used was expected (got Permission denied): look at path, rights and disk"
    )
    assert root.refused_by_the_system(OSError(12, "Cannot allocate memory")).startswith(
        "the system was expected to go on"
    )


def test_a_device_or_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.html")
    for path, got in ((tmp_path / "pipe.html", "a device or a pipe"), (tmp_path, "a folder"), (Path(), "a folder")):
        with pytest.raises(InputError, match=f"the name of a file was expected .got {got}"), replacing(path):
            pytest.fail("nothing is written")
    assert (tmp_path / "pipe.html").is_fifo()


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_leaving_a_watched_campaign_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "wait", interrupted)
    with pytest.raises(click.exceptions.Exit) as raised:
        watch.follow(42)
    assert raised.value.exit_code == 1
    assert "campaign 42 goes on: `aiida-hqe watch 42`" in capsys.readouterr().err


def test_help_needs_no_profile_and_a_command_does() -> None:
    context = click.Context(main)
    parameter = click.Option(["--profile"])
    context.meta[root._HELP] = True
    assert root._require_profile(context, parameter, None) is None
    context.meta[root._HELP] = False
    with pytest.raises(InputError, match="an AiiDA profile was expected"):
        root._require_profile(context, parameter, None)


def test_a_file_in_place_of_aiidas_folder_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIIDA_PATH", str(folder / "level.yaml"))
    assert refused("status", 1).startswith(f"{folder / 'level.yaml'}: a folder for AiiDA's configuration was expected")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            IncompatibleStorageSchema("schema `1` is\nincompatible: verdi -p x storage migrate"),
            "is incompatible: verdi -p x",
        ),
        (
            DatabaseError("PRAGMA", {}, Exception("file is not a database")),
            "file is not a database): `aiida-hqe doctor",
        ),
    ],
)
def test_a_storage_that_does_not_open_is_one_line(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        raise error

    manager = SimpleNamespace(get_profile_storage=failing, get_profile=lambda: SimpleNamespace(name="x"))
    monkeypatch.setattr("aiida.manage.get_manager", lambda: manager)
    with pytest.raises(ResourceError, match="the storage of profile 'x' was expected to open") as raised:
        profile.storage()
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    found = services.look_at_storage(SimpleNamespace(name="x", storage_config={}))  # type: ignore[arg-type]
    repair = (
        "verdi -p x storage migrate"
        if "migrate" in str(error)
        else "restore it from a backup, or make another: verdi presto"
    )
    assert (found.state, found.repair) == ("missing", repair)


def test_names_of_templates_are_completed() -> None:
    option = next(parameter for parameter in setup.init.params if parameter.name == "template")
    found = option.shell_complete(click.Context(setup.init), "pep")
    assert [item.value for item in found] == ["peptide", "peptide-water"]
