"""The root of the command line: help, unknown commands, completion, and what is (not) imported for them."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from aiida_hqe.cli import main
from aiida_hqe.cli.root import COMMANDS, FILE_COMMANDS, SECTIONS

HEAVY = ("torch", "schnetpack", "pyscf", "openmm", "sklearn", "aiida", "numpy")


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_help_lists_every_command_without_importing_one() -> None:
    script = (
        "import sys\n"
        "from aiida_hqe.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported {loaded}' if loaded else 0)\n"
    )
    ended = python(script)
    assert ended.returncode == 0, ended.stderr
    listed = [line.split()[0] for line in ended.stdout.splitlines() if line.startswith("  ") and line.split()]
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("name", sorted(FILE_COMMANDS))
def test_help_of_a_command_on_files_needs_nothing_heavy_and_no_aiida(name: str) -> None:
    heavy = [module for module in HEAVY if module != "numpy"]
    script = (
        "import sys\n"
        "from aiida_hqe.cli import main\n"
        f"main([{name!r}, '--help'], standalone_mode=False)\n"
        f"loaded = [module for module in {heavy!r} if module in sys.modules]\n"
        "sys.exit(f'imported {loaded}' if loaded else 0)\n"
    )
    ended = python(script)
    assert ended.returncode == 0, ended.stderr
    assert "Usage: " in ended.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f" {name} " in result.stdout.splitlines()[0] + " "
    assert len(result.stdout.splitlines()) > 4


def test_sections_of_the_help_hold_each_command_once() -> None:
    assert sum(len(section) for section in SECTIONS.values()) == len(COMMANDS)


@pytest.mark.parametrize(("wrong", "meant"), [("lable", "label"), ("chek", "check"), ("statsu", "status")])
def test_an_unknown_command_is_answered_with_the_one_meant(wrong: str, meant: str) -> None:
    result = CliRunner().invoke(main, [wrong])
    assert result.exit_code == 2
    assert f"did you mean {meant!r}?" in result.stderr


def test_completion_offers_commands_without_importing_them() -> None:
    with click.Context(main) as ctx:
        assert [item.value for item in main.shell_complete(ctx, "st")] == ["status", "stop"]


def test_the_version_is_that_of_the_package() -> None:
    from aiida_hqe import __version__

    assert CliRunner().invoke(main, ["--version"]).stdout == f"aiida-hqe {__version__}\n"
