"""What the daemon reads of a job that runs on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiida import orm
from aiida.common import LinkType
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory, WorkflowFactory
from aiida.plugins.entry_point import get_entry_point_names
from campaign_cases import data, hydrogens

from aiida_hqe.audit import audit
from aiida_hqe.calculations import monitors
from aiida_hqe.embedding.level import Level
from aiida_hqe.jobs import files
from aiida_hqe.jobs.main import report_progress


@pytest.fixture
def job(hqe_code: Any, tmp_path: Path) -> orm.CalcJobNode:
    """A job that runs in a folder."""
    node = orm.CalcJobNode(computer=hqe_code.computer, process_type="aiida.calculations:hqe.label").store()
    node.set_remote_workdir(str(tmp_path))
    return node


@pytest.fixture
def transport(hqe_code: Any) -> Iterator[Any]:
    """An open connection to its computer."""
    with hqe_code.computer.get_transport() as opened:
        yield opened


def test_the_counter_of_a_job_is_read_through_its_transport(
    job: orm.CalcJobNode, transport: Any, tmp_path: Path
) -> None:
    monitors.progress(job, transport)
    assert monitors.COUNTER not in job.base.extras.all
    report_progress(tmp_path, 3, 7)
    monitors.progress(job, transport)
    assert job.base.extras.get(monitors.COUNTER) == [3, 7]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"done": "x", "total": 2}', '{"done": 1}'])
def test_a_damaged_counter_is_no_counter_and_ends_no_job(
    job: orm.CalcJobNode, transport: Any, tmp_path: Path, text: str
) -> None:
    (tmp_path / files.PROGRESS).write_text(text)
    monitors.progress(job, transport)
    assert monitors.COUNTER not in job.base.extras.all


def test_only_jobs_on_other_machines_are_monitored(hqe_code: Any, aiida_computer: Any) -> None:
    assert monitors.ENTRY_POINT in get_entry_point_names("aiida.calculations.monitors")
    cluster = aiida_computer(label="far", transport_type="core.ssh", scheduler_type="core.slurm")
    there = orm.InstalledCode(label="there", computer=cluster, filepath_executable="/bin/hqe-job").store()
    level = orm.Dict(Level().model_dump(mode="json"))
    inputs = {"frames": data(hydrogens(1)), "level": level, "batches": orm.Int(1)}
    runner = get_manager().get_runner()
    for code, monitored in ((hqe_code, False), (there, True)):
        chain = instantiate_process(runner, WorkflowFactory("hqe.label"), code=code, **inputs)
        job = chain.job("batch", frames=inputs["frames"], level=level)
        assert ("monitors" in job) == monitored
        process = instantiate_process(runner, CalculationFactory("hqe.label"), **job)
        assert ("monitors" in process.inputs) == monitored


def test_a_monitor_is_no_datum_of_the_campaign_that_nobody_made(hqe_code: Any) -> None:
    campaign = orm.WorkChainNode(process_type="aiida.workflows:hqe.campaign").store()
    made: dict[str, orm.Dict] = {}
    for label in ("monitors__progress", "settings"):
        made[label] = orm.Dict({"made by": "nobody"}).store()
    node = orm.CalcJobNode(computer=hqe_code.computer, process_type="aiida.calculations:hqe.train")
    for label, data_node in made.items():
        node.base.links.add_incoming(data_node, LinkType.INPUT_CALC, label)
    node.base.links.add_incoming(campaign, LinkType.CALL_CALC, "train_00")
    node.store()
    assert [fault.node for fault in audit(campaign)] == [made["settings"].uuid]
