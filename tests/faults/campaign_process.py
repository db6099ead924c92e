"""A cheap campaign by a real daemon, in a process of its own: ``python campaign_process.py FOLDER JSON``.

It makes the profile, starts the daemon, submits, prints a line, waits for the end however often the daemon is killed and
started meanwhile, and prints what the campaigns left as JSON. It shares nothing with the AiiDA of the tests.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cheap_campaign import CHEAP, SYSTEM

from aiida_hqe.cli import profile

SMALL: dict[str, Any] = {
    **CHEAP,
    "training": CHEAP["training"] | {"epochs": 60, "warm_epochs": 10},
    "sampling": CHEAP["sampling"] | {"steps": 8, "interval": 2},
    "stop": {"iterations": 1, "uncertain_fraction": 0.01},
    "resources": {"parallel_jobs": 1},
}
"""One round after the first set, one label job and one training job at a time."""

LIMIT = 900.0
"""Seconds after which a campaign is given up."""


def main(folder: Path, options: dict[str, Any]) -> None:
    """Run campaigns to their end.

    `options` are ``changes`` of the campaign, ``executable`` of the code, texts ``prepend`` and ``append`` of the computer, the
    stage at which the campaign is asked to ``stop``, and that at which a ``second`` equal campaign is submitted.
    """
    profile.enter(folder)
    code = profile.open_profile()
    from aiida import orm
    from aiida.engine import submit
    from aiida.engine.daemon.client import get_daemon_client

    import aiida_hqe.campaign
    from aiida_hqe.workchains.campaign import CampaignWorkChain

    template = Path(aiida_hqe.campaign.__file__).parent / "templates" / "methanol-water"
    computer = code.computer
    for kind in ("prepend", "append"):
        getattr(computer, f"set_{kind}_text")(options.get(kind, ""))
    if "scratch" in options:
        computer.set_workdir(options["scratch"])
    if "executable" in options:
        code = orm.InstalledCode(label="other", computer=computer, filepath_executable=options["executable"]).store()
    profile.start(get_daemon_client(), 1)

    def start() -> int:
        changes = SMALL | options.get("changes", {})
        return int(submit(CampaignWorkChain.get_builder_from_protocol(code, SYSTEM, template, "fast", changes)).pk)

    pks = [start()]
    print(json.dumps(pks), flush=True)
    if "second" in options:
        wait(pks, stage=options["second"])
        pks.append(start())
    if "stop" in options:
        wait(pks, stage=options["stop"])
        orm.load_node(pks[0]).base.extras.set("hqe_stop", True)
    wait(pks)
    print(json.dumps([record(pk) for pk in pks]), flush=True)


def wait(pks: list[int], stage: str | None = None) -> None:
    """Wait until all have ended, or the first one has come to a stage."""
    from aiida_hqe import queries

    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        states = [queries.state(pk) for pk in pks]
        if all(state.terminated for state in states) or (stage and states[0].stage == stage):
            return
        time.sleep(0.3)


def record(pk: int) -> dict[str, Any]:
    """What a campaign left."""
    from aiida import orm

    from aiida_hqe import queries
    from aiida_hqe.audit import audit

    node, state = queries.campaign(pk), queries.state(pk)
    processes = node.called_descendants
    jobs = [process for process in processes if isinstance(process, orm.CalcJobNode)]
    gathered = [process.outputs for process in processes if process.process_label == "gather"]
    return {
        "pk": pk,
        "ended": [state.process_state, state.exit_status, state.exit_message, state.last_exception],
        "sets": [process.outputs.training_set.frames.hashes for process in processes if _divides(process)],
        "failed": {
            key: reason for outputs in gathered if "failed" in outputs for key, reason in outputs.failed.items()
        },
        "labelled": [
            key
            for job in jobs
            if job.process_label == "LabelCalculation" and "frames" in job.outputs
            for key in job.outputs.frames.frames.hashes
        ],
        "first_set": asked_of(node, "label_00"),
        "label_seconds": max(
            (
                job.outputs.status["seconds"]
                for job in jobs
                if job.process_label == "LabelCalculation" and "status" in job.outputs
            ),
            default=0.0,
        ),
        "jobs": Counter(job.process_label for job in jobs if not _cut_off(job)),
        "endings": [[job.process_label, job.exit_status, job.exit_message] for job in jobs if job.exit_status],
        "folders": [job.get_remote_workdir() for job in jobs if job.get_remote_workdir()],
        "lost": [process.pk for process in processes if not (process.is_finished or _cut_off(process))],
        "cut_off": [process.process_label for process in processes if _cut_off(process)],
        "faults": [str(fault) for fault in audit(node)] if state.terminated else ["the campaign has not ended"],
    }


def asked_of(campaign: Any, label: str) -> list[str]:
    """Frames that one labelling of a campaign was asked for."""
    called = campaign.base.links.get_outgoing(link_label_filter=label).all_nodes()
    return [key for labelling in called for key in labelling.inputs.frames.frames.hashes]


def _cut_off(process: Any) -> bool:
    """Whether a process was marked as cut off with its worker, before it had begun or as a function, which was run anew."""
    began = bool(getattr(process, "get_remote_workdir", lambda: None)())
    return process.is_killed and not began and str(process.process_status).startswith("cut off with the worker")


def _divides(process: Any) -> bool:
    """Whether a calcfunction gave out the training set of a round."""
    from aiida import orm

    return isinstance(process, orm.CalcFunctionNode) and "training_set" in process.outputs


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
