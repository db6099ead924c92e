"""What a stranger's file, name or archive cannot do: each row of docs/security.md that has no test elsewhere."""

from __future__ import annotations

import ast
import re
import stat
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from campaign_graph import build, water
from commands import refused
from test_house import ROOT, modules

from aiida_hqe.data.archive import check_archive
from aiida_hqe.data.frames import FramesData
from aiida_hqe.errors import InputError, IntegrityError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.qmmm.assembly import FORMAT, Assembly
from aiida_hqe.qmmm.settings import SystemSettings

FORBIDDEN_IMPORTS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval", "exec", "torch.load", "torch.jit.load", "pd.read_pickle", "yaml.load", "yaml.full_load",
    "yaml.unsafe_load", "os.system", "os.popen", "subprocess.getoutput",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(modules()))
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(name: str) -> None:
    tree = ast.parse(modules()[name].read_text())
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & FORBIDDEN_IMPORTS
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {ast.unparse(call.func) for call in calls} & FORBIDDEN_CALLS
    loose = [key for call in calls for key in call.keywords if key.arg in {"shell", "allow_pickle"}]
    assert [ast.unparse(key.value) for key in loose] == ["False"] * len(loose)
    arrays = [call for call in calls if ast.unparse(call.func) in {"np.load", "numpy.load"}]
    assert all("allow_pickle" in {key.arg for key in call.keywords} for call in arrays)


def test_every_test_that_the_threat_table_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) > 15
    assert not [pair for pair in named if f"def {pair[1]}(" not in (ROOT / pair[0]).read_text()]


def torn(path: Path, kind: str) -> None:
    """Make an HDF5 file reach out of itself."""
    secret = path.with_name("secret.bin")
    secret.write_bytes(np.arange(8.0).tobytes())
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["charge"] = np.zeros(1, dtype=np.int64)
    with h5py.File(path, "a") as file:
        if "charge" in file:
            del file["charge"]
        if kind == "external link":
            file["charge"] = h5py.ExternalLink("other.h5", "charge")
        elif kind == "soft link":
            file["charge"] = h5py.SoftLink("/spin")
        elif kind == "external data":
            file.create_dataset("charge", (8,), dtype="f8", external=[(str(secret), 0, 64)])
        else:
            layout = h5py.VirtualLayout(shape=(1,), dtype="i8")
            layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "charge", shape=(1,))
            file.create_virtual_dataset("charge", layout)


@pytest.mark.parametrize("kind", ["external link", "soft link", "external data", "virtual"])
def test_an_hdf5_file_that_reaches_into_another_is_refused_unread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "frames.h5"
    Frames([water(0)]).write(path)
    torn(path, kind)
    with pytest.raises(IntegrityError, match="another file"):
        Frames.read(path)
    path = tmp_path / "assembly.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
    torn(path, kind)
    with pytest.raises(IntegrityError, match="another file"):
        Assembly.read(path)


def test_a_small_assembly_that_claims_terabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "assembly.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        file.create_dataset("positions", shape=(1 << 40,), dtype="f8", chunks=(1 << 16,), compression="gzip")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(IntegrityError, match="larger"):
        Assembly.read(path)


@pytest.mark.parametrize("element", ["Script", "InitializationScript", "Include"])
def test_python_in_a_force_field_is_refused_and_not_run(tmp_path: Path, element: str) -> None:
    from aiida_hqe.qmmm.setup import build as set_up

    told = tmp_path / "told"
    code = f"open({str(told)!r}, 'w')"
    (tmp_path / "evil.xml").write_text(f'<ForceField><{element} file="evil2.xml">{code}</{element}></ForceField>')
    (tmp_path / "evil2.xml").write_text(f"<ForceField><InitializationScript>{code}</InitializationScript></ForceField>")
    pdb = "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\nEND\n"
    (tmp_path / "water.pdb").write_text(pdb)
    system = {"topology": "water.pdb", "forcefield": ["evil.xml"], "qm": {"atoms": [0]}, "charge": 0}
    with pytest.raises(InputError, match="a force field of numbers alone"):
        set_up(SystemSettings.model_validate(system), tmp_path)
    assert not told.exists()


@pytest.mark.parametrize(
    "name", ["_aiidasubmit.sh", "_scheduler-stdout.txt", ".aiida", "settings.json", "status.json", "-rf"]
)
def test_an_input_file_cannot_take_the_place_of_a_file_of_the_job(hqe_code: Any, name: str) -> None:
    folder = orm.FolderData()
    folder.base.repository.put_object_from_bytes(b"touch told", name)
    system = {"topology": "h2.pdb", "forcefield": ["h2.xml"], "qm": {"atoms": [0, 1]}, "charge": 0}
    settings = orm.Dict({"system": system, "sampling": {}, "seed": 1})
    with pytest.raises(ValueError, match="file names of their own"):
        instantiate_process(
            get_manager().get_runner(),
            CalculationFactory("hqe.prepare"),
            code=hqe_code,
            settings=settings,
            files=folder,
        )


def test_names_of_input_files_never_reach_the_shell_of_a_job(hqe_code: Any) -> None:
    from aiida.common.folders import SandboxFolder

    evil = "a; touch told $(touch told) `touch told` | x.pdb"
    folder = orm.FolderData()
    folder.base.repository.put_object_from_bytes(b"", evil)
    system = {"topology": evil, "forcefield": ["h2.xml"], "qm": {"atoms": [0, 1]}, "charge": 0}
    inputs = {"settings": orm.Dict({"system": system, "sampling": {}, "seed": 1}).store(), "files": folder.store()}
    process = instantiate_process(
        get_manager().get_runner(), CalculationFactory("hqe.prepare"), code=hqe_code, **inputs
    )
    with SandboxFolder() as sandbox:
        process.presubmit(sandbox)
        script = sandbox.get_content_list() and Path(sandbox.abspath, "_aiidasubmit.sh").read_text()
    assert "prepare" in script
    assert "touch" not in script


def test_what_a_job_writes_is_for_its_owner_alone(hqe_code: Any) -> None:
    from aiida.common.folders import SandboxFolder

    inputs = {"frames": FramesData.from_frames(Frames([water(0)])).store(), "level": orm.Dict({}).store()}
    process = instantiate_process(get_manager().get_runner(), CalculationFactory("hqe.label"), code=hqe_code, **inputs)
    with SandboxFolder() as sandbox:
        process.presubmit(sandbox)
        lines = Path(sandbox.abspath, "_aiidasubmit.sh").read_text().splitlines()
    assert lines.index("umask 077") < next(number for number, line in enumerate(lines) if "hqe-job" in line)


def test_the_folder_of_a_profile_of_its_own_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import tempfile

    from aiida_hqe.cli import profile

    for name in ("AIIDA_PATH", "TMPDIR", "PYSCF_TMPDIR", "PATH", "OMP_NUM_THREADS", *profile._CACHES):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    monkeypatch.setattr(profile, "_repoint", lambda _: None)
    folder = profile.enter(tmp_path / "demo")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "empty zip"])
def test_what_is_no_archive_is_refused(tmp_path: Path, aiida_profile: Any, content: bytes) -> None:
    path = tmp_path / "campaign.aiida"
    path.write_bytes(content)
    with pytest.raises(InputError, match="an AiiDA archive was expected"):
        check_archive(path)


def test_an_archive_with_a_damaged_database_is_refused_on_one_line(tmp_path: Path, hqe_code: Any) -> None:
    from aiida.tools.archive import create_archive

    whole, bad = tmp_path / "whole.aiida", tmp_path / "bad.aiida"
    create_archive([build(tmp_path, hqe_code.computer).campaign], filename=whole)
    nodes = orm.QueryBuilder().append(orm.Node).count()
    with zipfile.ZipFile(whole) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    database = entries["db.sqlite3"]
    for content in (b"no database", database[: len(database) // 2], database[:8192] + bytes(len(database) - 8192)):
        with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as target:
            for name, text in (entries | {"db.sqlite3": content}).items():
                target.writestr(name, text)
        assert "export it anew" in refused("import", bad)
    assert orm.QueryBuilder().append(orm.Node).count() == nodes


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiida_hqe.errors import ResourceError

    path = tmp_path / "campaign.aiida"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db.sqlite3", bytes(1 << 20))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    assert path.stat().st_size < 10_000
    with pytest.raises(ResourceError, match="make room"):
        check_archive(path)


@pytest.mark.parametrize(
    "change", [{"checkpoints": "!!python/object/apply:os.system ['touch told']"}, {"sealed": None}]
)
def test_an_archive_with_a_process_that_could_be_continued_is_refused(
    tmp_path: Path, hqe_code: Any, change: dict[str, Any]
) -> None:
    import json
    import sqlite3

    from aiida.tools.archive import create_archive

    graph = build(tmp_path, hqe_code.computer)
    whole, evil = tmp_path / "whole.aiida", tmp_path / "evil.aiida"
    create_archive([graph.campaign], filename=whole)
    check_archive(whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(evil, "w") as target:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename == "db.sqlite3":
                database = tmp_path / "db.sqlite3"
                database.write_bytes(content)
                with sqlite3.connect(database) as connection:
                    [[attributes]] = connection.execute(
                        "select attributes from db_dbnode where uuid = ?", (graph.campaign.uuid,)
                    )
                    changed = {
                        key: value for key, value in {**json.loads(attributes), **change}.items() if value is not None
                    }
                    connection.execute(
                        "update db_dbnode set attributes = ? where uuid = ?", (json.dumps(changed), graph.campaign.uuid)
                    )
                connection.close()
                content = database.read_bytes()
            target.writestr(entry, content)
    with pytest.raises(InputError, match="an archive of ended processes was expected"):
        check_archive(evil)


def test_secrets_of_the_environment_are_in_no_node(hqe_code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "correct-horse-battery-staple"
    monkeypatch.setenv("CLUSTER_PASSWORD", secret)
    level = {"environment": {"xc": "pbe", "basis": "sto-3g", "grid_level": 0}, "core": {"method": "hf"}}
    frame = Frame(numbers=[1, 1], positions=[[0, 0, 0], [0.771, 0, 0]], charge=0, spin=0)
    inputs = {"frames": FramesData.from_frames(Frames([frame])), "level": orm.Dict(level), "batches": orm.Int(1)}
    _, node = run_get_node(WorkflowFactory("hqe.label"), code=hqe_code, **inputs)
    assert node.is_finished_ok
    for process in [node, *node.called_descendants]:
        for found in [process, *(link.node for link in process.base.links.get_outgoing())]:
            assert secret not in str(found.base.attributes.all) + str(found.base.extras.all)
            for name in found.base.repository.list_object_names():
                if found.base.repository.get_object(name).file_type.name == "FILE":
                    assert secret.encode() not in found.base.repository.get_object_content(name, mode="rb")
