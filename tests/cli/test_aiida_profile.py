"""A profile of its own in a folder, and what `doctor` says where there is none."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aiida_hqe.cli import main, profile
from aiida_hqe.errors import InputError

OPEN = """
import sys
from pathlib import Path
from aiida_hqe.cli import profile
folder = profile.enter(Path(sys.argv[1]))
code = profile.open_profile()
again = profile.open_profile()
assert code.uuid == again.uuid
from aiida.manage import get_manager
from aiida.manage.configuration import get_config
loaded, computer = get_manager().get_profile(), code.computer
print(code.filepath_executable, loaded.storage_backend, loaded.process_control_backend, get_config().dirpath)
print(computer.get_minimum_job_poll_interval(), computer.get_configuration())
"""


def environment(home: Path, **changes: str) -> dict[str, str]:
    """An environment whose home is empty and which names no profile."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIIDA", "XDG", "MPL"))}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **changes}


def test_the_profile_lies_in_its_folder_alone_and_is_opened_again(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "demo"
    home.mkdir()
    command = [sys.executable, "-c", OPEN, str(folder)]
    ended = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=True)
    executable, storage, broker, configuration = ended.stdout.splitlines()[0].split()
    assert Path(executable) == Path(sys.executable).parent / "hqe-job"
    assert (storage, broker) == ("core.sqlite_dos", "core.zeromq")
    assert configuration == str(folder / ".aiida")
    assert list(home.iterdir()) == []
    options = json.loads((folder / ".aiida" / "config.json").read_text())["profiles"][profile.NAME]["options"]
    assert options["caching.enabled_for"] == [profile.CACHED]


def test_a_file_is_no_folder_for_a_profile(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    before = dict(os.environ)
    with pytest.raises(InputError, match="a folder that can be written was expected"):
        profile.enter(tmp_path / "file")
    assert dict(os.environ) == before


def test_sockets_get_a_folder_whose_path_is_short_enough() -> None:
    assert profile.temporary_folder(Path("/demo/tmp")) == "/demo/tmp"
    assert len(profile.temporary_folder(Path("/" + 100 * "x"))) < 72


def test_doctor_without_a_profile_names_the_command_that_makes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIIDA_PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "missing" in result.output
    assert "-> verdi presto" in result.output
    assert list(tmp_path.iterdir()) == []
    findings = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert findings[0] == {
        "name": "profile",
        "state": "missing",
        "message": f"there is no AiiDA configuration {tmp_path / '.aiida' / 'config.json'}",
        "repair": "verdi presto",
    }


def test_doctor_lists_broker_code_and_caching_with_their_repairs(aiida_profile_clean: Any) -> None:
    result = CliRunner().invoke(main, ["doctor", "-p", aiida_profile_clean.name, "--json"])
    findings = {item["name"]: item for item in json.loads(result.output)}
    assert result.exit_code == 1
    assert findings["profile"]["state"] == findings["storage"]["state"] == "ok"
    assert findings["broker"]["repair"] == "verdi profile configure-broker"
    assert findings["code"]["state"] == "missing"
    assert "verdi code create core.code.installed" in findings["code"]["repair"]
    assert findings["caching"]["repair"].startswith("verdi config set")


@pytest.mark.parametrize("arguments", [["doctor", "-p", "no-such-profile"], ["-p", "no-such-profile", "doctor"]])
def test_doctor_with_an_unknown_profile_says_so(aiida_profile: Any, arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "no-such-profile" in result.output


def test_every_optional_part_has_the_command_that_installs_it() -> None:
    from aiida_hqe.cli.doctor import OPTIONAL, optional_parts

    found = {finding.name: finding for finding in optional_parts()}
    assert set(found) == set(OPTIONAL)
    assert all(finding.state == "ok" or "pip install" in str(finding.repair) for finding in found.values())
    extras = set(importlib.metadata.metadata("aiida-hqe").get_all("Provides-Extra") or ()) - {"tests", "dev"}
    assert {repair.split("[")[1].split("]")[0] for _, _, repair in OPTIONAL.values()} == extras
