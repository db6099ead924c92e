"""An AiiDA profile of its own in a folder: SQLite, ZeroMQ broker, computer ``localhost`` and code ``hqe-job``.

Nothing is shared with the user's own profiles: the configuration, the database, the repository, the scratch of the jobs,
caches and temporary files all lie below the folder. `enter` must come before anything imports aiida.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiida_hqe.cli import broker, supervisor
from aiida_hqe.errors import InputError, ResourceError

if TYPE_CHECKING:
    from aiida.engine.daemon.client import DaemonClient
    from aiida.manage.configuration import Config
    from aiida.orm import Computer, InstalledCode
    from aiida.orm.implementation import StorageBackend

NAME = "hqe"
"""Name of the profile in such a folder."""

CODE = "hqe-job@localhost"
"""Full label of the code that CalcJobs run, here and as the default of ``aiida-hqe submit``."""

CACHED = "aiida.calculations:hqe.*"
"""The calculations whose finished results AiiDA's caching hands out again."""

_SOCKET_ROOM = 72
"""Longest folder (bytes) in which the sockets of daemon and broker still fit the 107 bytes that Unix allows."""

_CACHES = {
    "XDG_CACHE_HOME": "cache",
    "MPLCONFIGDIR": "cache/matplotlib",
    "TORCH_HOME": "cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "NUMBA_CACHE_DIR": "cache/numba",
}


def enter(folder: Path) -> Path:
    """Point this process, and what it starts, at the profile below `folder`; returns the absolute folder.

    Raises
    ------
    InputError
        `folder` is a file or cannot be written.
    """
    folder = folder.absolute()
    temporary = folder / "tmp"
    try:
        for path in (folder / ".aiida", temporary, *(folder / name for name in _CACHES.values())):
            path.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise InputError(
            f"{folder}: a folder that can be written was expected ({error.strerror}): choose another"
        ) from error
    os.environ.update({key: str(folder / name) for key, name in _CACHES.items()})
    os.environ["AIIDA_PATH"] = str(folder)
    os.environ["TMPDIR"] = os.environ["PYSCF_TMPDIR"] = temporary_folder(temporary)
    os.environ["PATH"] = os.pathsep.join([str(scripts()), os.environ.get("PATH", os.defpath)])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    tempfile.tempdir = None
    _repoint(folder / ".aiida")
    return folder


def temporary_folder(wanted: Path) -> str:
    """`wanted`, or the folder of the system where sockets in `wanted` would have too long a path."""
    return str(wanted) if len(os.fsencode(wanted)) <= _SOCKET_ROOM else "/tmp"


def _repoint(configuration: Path) -> None:
    """Where aiida is imported already, make it forget the configuration that it read then."""
    if "aiida.manage.configuration" in sys.modules:
        from aiida.manage.configuration import reset_config
        from aiida.manage.configuration.settings import AiiDAConfigDir

        AiiDAConfigDir.set(configuration)
        reset_config()


def scripts() -> Path:
    """Folder of the console scripts of this installation."""
    return Path(sys.executable).parent


def open_profile() -> InstalledCode:
    """Load the profile of the folder that `enter` named, made first where there is none; returns its code."""
    from aiida.manage.configuration import get_config, load_profile

    config = get_config(create=True)
    if NAME not in config.profile_names:
        _create(config)
    load_profile(NAME, allow_switch=True)
    return _code(_computer(Path(config.dirpath).parent / "scratch"))


def _create(config: Config) -> None:
    from aiida.manage.configuration import create_profile
    from aiida.plugins import BrokerFactory

    broker = "core.zeromq"
    create_profile(
        config,
        name=NAME,
        email="aiida@localhost",
        storage_backend="core.sqlite_dos",
        storage_config={},
        broker_backend=broker,
        broker_config=BrokerFactory(broker).get_default_config(),
    )
    config.set_option("runner.poll.interval", 1, scope=NAME)
    config.set_option("daemon.timeout", 60, scope=NAME)
    config.set_option("caching.enabled_for", [CACHED], scope=NAME)
    config.set_default_profile(NAME, overwrite=True)
    config.store()


def _computer(scratch: Path) -> Computer:
    from aiida.common.exceptions import NotExistent
    from aiida.orm import Computer, load_computer

    try:
        return load_computer("localhost")
    except NotExistent:
        pass
    computer = Computer(
        label="localhost",
        hostname="localhost",
        description="This machine",
        transport_type="core.local",
        scheduler_type="core.direct",
        workdir=str(scratch),
    ).store()
    computer.configure(safe_interval=0.0, use_login_shell=False)
    computer.set_minimum_job_poll_interval(0.5)
    computer.set_default_mpiprocs_per_machine(1)
    return computer


def _code(computer: Computer) -> InstalledCode:
    from aiida.common.exceptions import NotExistent
    from aiida.orm import InstalledCode, load_code

    executable = scripts() / "hqe-job"
    try:
        code = load_code(CODE)
    except NotExistent:
        label = CODE.partition("@")[0]
        return InstalledCode(label=label, computer=computer, filepath_executable=str(executable)).store()
    if Path(code.filepath_executable) != executable:
        raise InputError(
            f"code {CODE} of this profile runs {code.filepath_executable}, but this is the installation of {executable}:"
            " remove the folder of the profile, or choose another with --directory"
        )
    return code


def make_code_command(code: str = CODE, executable: str = '"$(which hqe-job)"') -> str:
    """The command that makes a code, the default one of the programs here."""
    label, _, computer = code.partition("@")
    return (
        f"verdi code create core.code.installed -n --label {label} --computer {computer}"
        f" --filepath-executable {executable}"
    )


@contextmanager
def daemon(workers: int = 2) -> Iterator[DaemonClient]:
    """The daemon of the loaded profile, started anew and stopped at the end, also on an error or Ctrl-C."""
    from aiida.engine.daemon.client import DaemonException, get_daemon_client

    client = get_daemon_client()
    stop(client)
    try:
        start(client, workers)
        yield client
    except DaemonException as error:
        raise ResourceError(f"the daemon did not start ({_line(error)}): see {client.circus_log_file}") from error
    finally:
        stop(client)


def start(client: DaemonClient, workers: int) -> None:
    """Start a daemon that does not run, and wait until processes can be submitted to it."""
    broker.sweep(client.profile)
    client.start_daemon(workers)
    broker.await_address(client.profile)
    supervisor.quieten(client)


def stop(client: DaemonClient) -> None:
    """Stop the daemon if it runs; jobs that it started go on and are picked up by the next one."""
    from aiida.engine.daemon.client import DaemonException

    if not running(client):
        return
    try:
        client.stop_daemon(wait=True)
    except DaemonException as error:
        repair = f"AIIDA_PATH={shlex.quote(os.environ.get('AIIDA_PATH', '~'))} verdi daemon stop"
        raise ResourceError(f"the daemon could not be stopped ({_line(error)}): run `{repair}`") from error


def running(client: DaemonClient) -> bool:
    """Whether the daemon's process is alive, not only its pid file."""
    import psutil

    pid = client.get_daemon_pid()
    return pid is not None and psutil.pid_exists(pid)


def load(name: str | None = None) -> None:
    """Load the user's profile `name` (the default one for ``None``).

    Raises
    ------
    InputError
        There is no such profile, or none at all.
    """
    from aiida.common.exceptions import ConfigurationError, ProfileConfigurationError
    from aiida.manage.configuration import load_profile

    try:
        load_profile(name)
    except ProfileConfigurationError as error:
        wanted = f"profile {name!r}" if name else "a default profile"
        raise InputError(
            f"{wanted} of AiiDA was expected ({_line(error)}): make one with `verdi presto`, or set AIIDA_PATH"
        ) from error
    except ConfigurationError as error:
        raise InputError(
            f"a configuration of AiiDA that can be read was expected ({_line(error)}): repair it, or set AIIDA_PATH"
        ) from error


def storage() -> StorageBackend:
    """The storage of the loaded profile, open.

    Raises
    ------
    ResourceError
        It is of another version of AiiDA, damaged, or does not answer.
    """
    from aiida.common.exceptions import AiidaException
    from aiida.manage import get_manager
    from sqlalchemy.exc import SQLAlchemyError

    manager = get_manager()
    try:
        return manager.get_profile_storage()
    except (AiidaException, SQLAlchemyError) as error:
        name = getattr(manager.get_profile(), "name", "")
        reason = _line(error).partition(" [SQL")[0]
        raise ResourceError(
            f"the storage of profile {name!r} was expected to open (got {reason}): `aiida-hqe doctor -p {name}` says more"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
