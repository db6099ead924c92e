"""The root of ``aiida-hqe``: it knows every command by name and help, and imports one only when it is called.

Commands on files work with no AiiDA profile, and without importing AiiDA (whose command line makes a folder in the user's
home on import). Commands on campaigns are completed here with AiiDA's own ``--profile`` and ``--verbosity`` options and
with the context object that those read.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from aiida_hqe.errors import HQEError, InputError


class Entry(NamedTuple):
    """Where a command lives, its line of help, and whether it needs an AiiDA profile."""

    target: str
    help: str
    profile: bool = False


FILE_COMMANDS = {
    "init": Entry("aiida_hqe.cli.setup:init", "Start a campaign folder from a template."),
    "check": Entry("aiida_hqe.cli.setup:check", "Validate a campaign file and set its system up."),
    "plan": Entry("aiida_hqe.cli.setup:plan", "Dry run: sizes, processes and cost of a campaign."),
    "label": Entry("aiida_hqe.cli.label:label", "Label frames with quantum-core embedding."),
    "cores": Entry("aiida_hqe.cli.cores:cores", "Propose quantum cores: what changes between frames."),
    "train": Entry("aiida_hqe.cli.train:train", "Train a committee on labelled frames."),
    "predict": Entry("aiida_hqe.cli.predict:predict", "Energies, forces and their bounds from a committee."),
    "sample": Entry("aiida_hqe.cli.sample:sample", "ML/MM dynamics driven by a committee."),
}

CAMPAIGN_COMMANDS = {
    "submit": Entry("aiida_hqe.cli.submit:submit", "Submit a campaign to the AiiDA daemon.", profile=True),
    "status": Entry("aiida_hqe.cli.watch:status", "Where a campaign stands.", profile=True),
    "watch": Entry("aiida_hqe.cli.watch:watch", "Follow a running campaign.", profile=True),
    "why": Entry("aiida_hqe.cli.why:why", "Why a frame was labelled, and what that cost.", profile=True),
    "report": Entry("aiida_hqe.cli.report:report", "One self-contained page about a campaign.", profile=True),
    "audit": Entry("aiida_hqe.cli.audit:audit", "Verify that a campaign's provenance is whole.", profile=True),
    "export": Entry("aiida_hqe.cli.export:export", "Write a campaign's frames, committee or archive.", profile=True),
    "import": Entry("aiida_hqe.cli.export:import_", "Bring frames, a committee or an archive in.", profile=True),
    "stop": Entry("aiida_hqe.cli.control:stop", "End a campaign cleanly at its next step.", profile=True),
    "extend": Entry("aiida_hqe.cli.extend:extend", "Go on from where a campaign stopped.", profile=True),
}

MACHINE_COMMANDS = {
    "doctor": Entry("aiida_hqe.cli.doctor:doctor", "Check profile, daemon, broker, code and optional parts."),
    "demo": Entry("aiida_hqe.cli.demo:demo", "A whole small campaign on this machine, in a profile of its own."),
}

SECTIONS = {"On files": FILE_COMMANDS, "On campaigns in AiiDA": CAMPAIGN_COMMANDS, "This machine": MACHINE_COMMANDS}

_HELP = "aiida_hqe.help"
"""Where a context says that help was asked for, which needs no profile."""

COMMANDS: dict[str, Entry] = FILE_COMMANDS | CAMPAIGN_COMMANDS | MACHINE_COMMANDS
"""Every command of ``aiida-hqe``."""


class Misuse(click.ClickException):
    """A mistake on the command line, told in one line that names the help."""

    exit_code = InputError.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it on standard error."""
        click.echo(self.message, file=file, err=True)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """What click has to say of a command line on one line instead of four; help that it prints where nothing was given stays."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "aiida-hqe"
        message = " ".join(error.format_message().split()).rstrip(".")
        raise Misuse(f"{command}: {message[:1].lower()}{message[1:]} (see `{command} --help`)") from error


class LazyGroup(click.Group):
    """Group whose commands are imported when they are called; help and completion read the table alone."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; `None` for an unknown name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, name = entry.target.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return _with_profile(ctx, command) if entry.profile else command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command, or fail with the names most like the one given."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"no such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        ctx.meta[_HELP] = not {"--help", "-h"}.isdisjoint(args)
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the options in front of the command."""
        with told_in_one_line():
            return super().make_context(info_name, args, parent, **extra)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by section, without importing one."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of commands from the table, and options as usual."""
        names = [
            CompletionItem(name, help=entry.help) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of ours becomes its line on stderr and its exit code."""
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # of libraries, for their developers: python -W default shows them
        try:
            with rarely_collecting(), told_in_one_line():
                return super().invoke(ctx)
        except HQEError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            click.echo(refused_by_the_system(error), err=True)
            ctx.exit(HQEError.exit_code)


def refused_by_the_system(error: OSError) -> str:
    """One line about what the system refused, where no command knows more about it."""
    reason = " ".join(str(error.strerror or error).split())
    if error.filename is None:
        return f"the system was expected to go on (got {reason}): look at disk, memory and network"
    return f"{error.filename}: a file or folder that can be used was expected (got {reason}): look at path, rights and disk"


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Look for garbage less often meanwhile.

    Importing AiiDA makes half a million objects that live to the end. Going through them a hundred times, as Python does by
    itself, is a quarter of the time that a short command takes.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def did_you_mean(name: str, known: Any) -> str:
    """``": did you mean 'x'?"`` where one of `known` resembles `name`, else nothing."""
    import difflib

    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f": did you mean {matches[0]!r}?" if matches else ""


def _with_profile(ctx: click.Context, command: click.Command) -> click.Command:
    """Give a command AiiDA's context object and, where it lacks them, its options of profile and verbosity."""
    _require_folders(os.environ.get("AIIDA_PATH", "~"))
    from aiida.cmdline.groups.verdi import LazyVerdiObjAttributeDict
    from aiida.cmdline.params import options, types

    if ctx.obj is None:
        ctx.obj = LazyVerdiObjAttributeDict(ctx)
    names = {parameter.name for parameter in command.params}
    if "profile" not in names:
        profile = types.ProfileParamType(load_profile=True)
        command = options.PROFILE(type=profile, expose_value=False, callback=_require_profile)(command)
    return command if "verbosity" in names else options.VERBOSITY()(command)


def _require_folders(places: str) -> None:
    """Where AiiDA's configuration cannot lie, importing it fails."""
    for place in places.split(os.pathsep):
        path = Path(place).expanduser()
        if path.exists() and not path.is_dir():
            raise InputError(
                f"{path}: a folder for AiiDA's configuration was expected (got a file): correct AIIDA_PATH"
            )


def _require_profile(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if ctx.resilient_parsing or ctx.meta.get(_HELP):
        return value
    if value is None:
        raise InputError(
            "an AiiDA profile was expected (got none): `verdi presto` makes one, or give one with -p PROFILE"
        )
    from aiida_hqe.cli.profile import storage

    storage()
    return value


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["--help", "-h"]})
@click.option("-p", "--profile", metavar="PROFILE", help="AiiDA profile, for the commands on campaigns.")
@click.version_option(package_name="aiida-hqe", message="aiida-hqe %(version)s")
@click.pass_context
def main(ctx: click.Context, profile: str | None) -> None:
    """QM/MM potentials of coupled-cluster-in-DFT quality, by active learning, with every number traceable.

    Exit codes: 0 done, 1 failed, 2 bad input.
    """
    if profile is not None:
        ctx.default_map = {name: {"profile": profile} for name in COMMANDS}
