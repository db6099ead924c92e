from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from campaign_cases import hydrogens, labelled
from small_systems import TEMPLATE, methanol

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.data.frames import FramesData
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import attempt
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training.settings import TrainingSettings

Generate = Callable[..., tuple[Any, Path]]

LEVEL = {"environment": {"xc": "pbe", "basis": "sto-3g", "grid_level": 0}, "core": {"method": "hf"}}
SAMPLING = {
    "equilibration_steps": 10, "nonbonded_cutoff": "7 angstrom", "platform": "Reference", "minimize_tolerance": "50 eV/angstrom",
}  # fmt: skip
SYSTEM = methanol(15, 5, switch_width="1 angstrom")


def run(job: str, directory: Path) -> files.Status:
    return importlib.import_module(f"aiida_hqe.jobs.{job}").run(directory)


def written(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_label_job_runs_on_what_its_calculation_writes(generate: Generate) -> None:
    info, directory = generate("label", frames=FramesData.from_frames(hydrogens(2)).store(), level=orm.Dict(LEVEL))
    assert written(directory) == {files.LEVEL, files.FRAMES}
    assert (info.retrieve_list, info.retrieve_temporary_list) == ([files.STATUS], [files.LABELS])
    assert info.codes_info[0].cmdline_params == ["label"]
    assert run("label", directory).state == "finished"
    assert (directory / files.LABELS).is_file()


def test_train_and_predict_jobs_run_on_what_their_calculations_write(generate: Generate) -> None:
    frames = FramesData.from_frames(labelled(6)).store()
    settings = files.TrainJob(
        potential=PotentialSettings(features=4, interactions=1, radial_functions=4),
        training=TrainingSettings(epochs=1, warm_epochs=1, target_epochs=1),
        members=[0, 1],
        seed=3,
    )
    info, directory = generate("train", frames=frames, settings=orm.Dict(settings.model_dump(mode="json")))
    assert written(directory) == {files.SETTINGS, files.FRAMES}
    assert run("train", directory).state == "finished"
    assert all((directory / name).is_file() for name in info.retrieve_list if name != files.STATUS)

    committee = CommitteeData.from_file(directory / files.TRAINED).store()
    assert (committee.n_members, committee.elements, committee.levels) == (2, [1], ["environment"])
    assert_merging_restores(committee, directory)
    info, directory = generate("predict", frames=frames, committee=committee)
    assert written(directory) == {files.COMMITTEE, files.FRAMES}
    assert run("predict", directory).state == "finished"
    assert all((directory / name).is_file() for name in info.retrieve_list if name != files.STATUS)


def assert_merging_restores(committee: CommitteeData, directory: Path) -> None:
    """Members taken apart, and put together without torch, are the file of the whole committee, byte for byte."""
    whole = committee.committee()
    parts = []
    for member in whole.members:
        whole.replace(members=[member]).save(directory / "part.safetensors")
        parts.append(CommitteeData.from_file(directory / "part.safetensors"))
    assert CommitteeData.merge(list(reversed(parts))).content == committee.content
    with pytest.raises(InputError, match="each member once"):
        CommitteeData.merge([parts[0], parts[0]])


def test_prepare_and_sample_jobs_run_on_what_their_calculations_write(generate: Generate) -> None:
    folder = orm.FolderData()
    for name in ("methanol.pdb", "methanol.xml"):
        folder.base.repository.put_object_from_file(str(TEMPLATE / name), name)
    job = {"system": SYSTEM, "sampling": SAMPLING, "seed": 1}
    info, directory = generate("prepare", settings=orm.Dict(job), files=folder.store())
    assert written(directory) == {files.SETTINGS, "methanol.pdb", "methanol.xml"}
    assert run("prepare", directory).state == "finished"
    assert all((directory / name).is_file() for name in info.retrieve_list if name != files.STATUS)

    assembly = orm.SinglefileData(directory / files.FINAL).store()
    job = {"sampling": SAMPLING, "seed": 1, "steps": 4, "interval": 2}
    info, directory = generate("sample", settings=orm.Dict(job), assembly=assembly)
    assert written(directory) == {files.SETTINGS, files.ASSEMBLY}
    assert run("sample", directory).state == "finished"
    assert FramesData.from_file(directory / files.SAMPLED).n_frames == 2
    assert all((directory / name).is_file() for name in info.retrieve_list if name != files.STATUS)


def test_a_committee_travels_with_the_jobs_that_go_on_from_it(generate: Generate) -> None:
    frames = FramesData.from_frames(hydrogens(2)).store()
    committee = CommitteeData(__file__, filename="committee.safetensors").store()
    training = {"potential": {}, "training": {}, "members": [0], "seed": 1}
    assert files.COMMITTEE in written(
        generate("train", frames=frames, settings=orm.Dict(training), committee=committee)[1]
    )
    job = {"sampling": SAMPLING, "seed": 1, "steps": 4, "interval": 2}
    assembly = orm.SinglefileData(__file__).store()
    assert files.COMMITTEE in written(
        generate("sample", settings=orm.Dict(job), assembly=assembly, committee=committee)[1]
    )


def test_threads_are_set_in_the_job_but_are_no_part_of_its_identity(generate: Generate) -> None:
    inputs = {"frames": FramesData.from_frames(hydrogens(1)).store(), "level": orm.Dict(LEVEL).store()}
    info, _ = generate("label", threads=3, **inputs)
    assert "export OMP_NUM_THREADS=3" in info.prepend_text.splitlines()


@pytest.mark.parametrize(("given", "device"), [({}, "cpu"), ({"device": "cuda:1"}, "cuda:1")])
def test_the_device_of_the_networks_is_set_in_the_job(generate: Generate, given: dict[str, str], device: str) -> None:
    inputs = {"frames": FramesData.from_frames(hydrogens(1)).store(), "level": orm.Dict(LEVEL).store()}
    info, _ = generate("label", **given, **inputs)
    assert f"export {files.DEVICE}={device}" in info.prepend_text.splitlines()


def test_what_is_no_device_is_refused(generate: Generate) -> None:
    with pytest.raises(ValueError, match="a device, cpu, cuda, or cuda:1 and so on was expected"):
        generate("label", frames=FramesData.from_frames(hydrogens(1)), level=orm.Dict(LEVEL), device="cuda; rm -r x")


def test_equal_settings_are_written_as_equal_bytes(generate: Generate, tmp_path: Path) -> None:
    frames = FramesData.from_frames(hydrogens(1)).store()
    _, directory = generate("label", frames=frames, level=orm.Dict(LEVEL))
    files.write_settings(tmp_path, "again.json", Level.model_validate(dict(reversed(LEVEL.items()))))
    assert (directory / files.LEVEL).read_bytes() == (tmp_path / "again.json").read_bytes()


@pytest.mark.parametrize(
    ("job", "entries", "complaint"),
    [
        ("label", {"level": {"core": {"method": "magic"}}}, "core.method"),
        ("train", {"settings": {"potential": {}, "training": {}, "members": [], "seed": 1}}, "members"),
        (
            "sample",
            {"settings": {"sampling": {"timestep": "0.5"}, "seed": 1, "steps": 4, "interval": 2}},
            "which has no unit",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_stored(
    generate: Generate, job: str, entries: dict[str, Any], complaint: str
) -> None:
    inputs = {name: orm.Dict(entry) for name, entry in entries.items()}
    inputs |= (
        {"assembly": orm.SinglefileData(__file__)}
        if job == "sample"
        else {"frames": FramesData.from_frames(hydrogens(1))}
    )
    before = orm.QueryBuilder().append(orm.CalcJobNode).count()
    with pytest.raises(ValueError, match=complaint):
        generate(job, **inputs)
    assert orm.QueryBuilder().append(orm.CalcJobNode).count() == before


@pytest.mark.parametrize("job", ["prepare", "label", "train", "sample"])
def test_a_job_without_settings_or_with_wrong_ones_says_so(job: str, tmp_path: Path) -> None:
    name = files.LEVEL if job == "label" else files.SETTINGS
    for text, complaint in ((None, "got no file"), ("{}" if job != "label" else '{"core": 1}', "correct this entry")):
        if text is not None:
            (tmp_path / name).write_text(text)
        status, code = attempt(job, tmp_path)
        assert (status.state, status.error_kind, code) == ("failed", "input", 2)
        assert name in str(status.message)
        assert complaint in str(status.message)


def test_no_thread_is_refused(generate: Generate) -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        generate("label", frames=FramesData.from_frames(hydrogens(1)), level=orm.Dict(LEVEL), threads=0)
