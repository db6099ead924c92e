"""Commands as a user gives them, in this process: what they print, and the one line of those that are refused."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner, Result

from aiida_hqe.cli import main


def run(*arguments: Any) -> Result:
    """``aiida-hqe`` with these arguments."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def printed(*arguments: Any) -> str:
    """What a command that succeeds prints on standard output."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*arguments: Any, code: int = 2) -> str:
    """The one line on standard error of a command that is refused; nothing else is printed."""
    result = run(*arguments)
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    return line
