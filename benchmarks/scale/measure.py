"""Measure a profile that `make_profile.py` made: commands, lineage queries, one more batch, a selection, bytes.

    python benchmarks/scale/measure.py FOLDER [--candidates 100000] [--repeat 5]

Times are wall and processor seconds, of the whole process for commands, of the call for queries: the least of the repeats;
on a loaded machine the wall time says little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests")]


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=("commands", "queries", "batch", "selection", "bytes", "file", "report"))
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    from aiida_hqe.cli import profile

    profile.enter(arguments.folder)
    if arguments.inside:
        profile.open_profile()
        print(json.dumps((STEPS | HIDDEN)[arguments.inside](arguments)))
        return
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    for step in [arguments.only] if arguments.only else ["commands", *STEPS]:
        found[step] = commands(arguments) if step == "commands" else _inside(step, arguments)
    print(json.dumps(found, indent=1))


def _inside(step: str, arguments: argparse.Namespace) -> Any:
    """What a step measures in a process of its own, so that its memory is its own."""
    options = [str(arguments.folder), f"--candidates={arguments.candidates}", f"--repeat={arguments.repeat}"]
    command = [sys.executable, "-W", "ignore", __file__, *options, f"--inside={step}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def commands(arguments: argparse.Namespace) -> dict[str, Any]:
    """Whole commands, with the start of Python."""
    campaign, frame = _inside("subject", arguments)
    program = Path(sys.executable).parent / "aiida-hqe"
    return {
        name: least(lambda words=words: run([str(program), *words]), arguments.repeat)
        for name, words in {
            "--help": ["--help"], "status": ["-p", "hqe", "status", str(campaign)], "why": ["-p", "hqe", "why", frame],
        }.items()
    }  # fmt: skip


def run(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, sum(after[:2]) - sum(before[:2])


def least(call: Callable[[], tuple[float, float]], repeat: int) -> dict[str, float]:
    """The least of several measurements."""
    walls, cpus = zip(*(call() for _ in range(repeat)), strict=True)
    return {"wall": round(min(walls), 4), "cpu": round(min(cpus), 4)}


def timed(call: Callable[[], Any], repeat: int) -> dict[str, float]:
    """Wall and processor seconds of a call."""

    def once() -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        call()
        return time.perf_counter() - start, time.process_time() - cpu

    return least(once, repeat)


def newest() -> Any:
    """The newest campaign of the profile."""
    from aiida_hqe import queries

    return queries.campaign(queries.campaigns()[0])


def subject(_: argparse.Namespace) -> list[Any]:
    """The campaign, and a frame from the middle of it that a committee judged."""
    from aiida import orm

    from aiida_hqe.data.frames import FramesData

    query = orm.QueryBuilder().append(orm.CalcJobNode, filters={"process_type": {"like": "%hqe.predict"}}, tag="job")
    query.append(FramesData, with_outgoing="job", edge_filters={"label": "frames"}, project="*")
    flagged = query.all(flat=True)
    return [newest().pk, flagged[len(flagged) // 2].hashes[-1]]


def queries_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The lineage queries, each in a warm process."""
    from campaign_graph import LEVEL_KEY

    from aiida_hqe import provenance, queries

    campaign, frame = subject(arguments)
    committee = newest().outputs.committee
    calls = {
        "flags": lambda: provenance.flags(frame),
        "labelled_at": lambda: provenance.labelled_at(LEVEL_KEY),
        "labelled_before": lambda: provenance.labelled_before(LEVEL_KEY, [frame]),
        "training_set": lambda: provenance.training_set(committee),
        "trained_on": lambda: provenance.trained_on(frame),
        "costs": lambda: queries.costs(campaign),
        "failures_by_reason": lambda: provenance.failures_by_reason(campaign),
    }
    return {name: timed(call, arguments.repeat) for name, call in calls.items()}


def batch(arguments: argparse.Namespace) -> dict[str, Any]:
    """One more batch of 500 labels, divided and added to all before by the campaign's own calcfunction."""
    from aiida import orm

    from aiida_hqe.calculations.functions import partition
    from aiida_hqe.data.frames import FramesData

    outputs, made = newest().outputs, material(10**6)
    new = FramesData.from_frames(made.labelled(made.frames(500, 0))).store()
    before = {name: outputs[name] for name in ("training_set", "held_out")}
    found = timed(lambda: partition(new, orm.Dict(step_settings()), **before), 1)
    return {**found, "peak_GB": peak(), "frames": outputs.labels.n_frames}


def selection(arguments: argparse.Namespace) -> dict[str, Any]:
    """Selection among many candidates, beside all labels, by the campaign's own calcfunction."""
    from aiida import orm
    from make_profile import CALIBRATION

    from aiida_hqe.calculations.functions import select
    from aiida_hqe.data.frames import FramesData

    query = orm.QueryBuilder().append(
        FramesData, filters={"attributes.n_frames": arguments.candidates, "label": "sample"}
    )
    sample = query.first(flat=True)
    if sample is None:
        _inside("sample", arguments)
        sample = query.first(flat=True)
    outputs = newest().outputs
    known = {f"labelled_{name}": outputs[name] for name in ("training_set", "held_out")}
    start = peak()
    found = timed(lambda: select(sample, orm.Dict(step_settings()), orm.Dict(CALIBRATION), **known), 1)
    return {**found, "peak_GB": peak(), "peak_before_GB": start, "known": outputs.labels.n_frames}


def sample(arguments: argparse.Namespace) -> int:
    """A sample of so many candidates."""
    from aiida_hqe.data.frames import FramesData

    node = FramesData.from_frames(material(7).frames(arguments.candidates, 0))
    node.label = "sample"
    return int(node.store().pk)


def material(seed: int) -> Any:
    """Where random frames and labels come from."""
    from make_profile import Material

    return Material(charges=300, seed=seed)


def peak() -> float:
    """Peak memory of this process, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)


def step_settings() -> dict[str, Any]:
    """Settings of a selection: a batch of 500 diverse uncertain frames."""
    from aiida_hqe.calculations.settings import SelectionStep

    step = {
        "selection": {"target_force_error": "0.1 eV/angstrom", "batch": 500, "confidence": 0.9},
        "seed": 1,
        "held_out": 0.1,
    }
    return SelectionStep.model_validate(step).model_dump(mode="json")


def size(_: argparse.Namespace) -> dict[str, Any]:
    """Bytes of the campaign for each labelled frame, in units of its own arrays, as ``audit`` prints them; and the database."""
    from aiida.manage import get_manager

    from aiida_hqe.audit import Audit
    from aiida_hqe.volume import volume

    found = volume(Audit(newest()))
    profile = get_manager().get_profile()
    database = Path(profile.storage_config["filepath"]) / "database.sqlite"
    whole = found.labels * found.raw
    shares = {**found.shares(), "database": round(database.stat().st_size / whole, 3)}
    return {"frames": found.labels, "raw": found.raw, "shares": shares, "sum": round(sum(shares.values()), 2)}


def training_file(_: argparse.Namespace) -> dict[str, Any]:
    """The file of all training frames, as a training job is given it."""
    import tempfile

    training = newest().outputs.training_set
    start = peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.h5"
        found = timed(lambda: training.write(path), 1)
        return {**found, "peak_GB": peak(), "peak_before_GB": start, "GB": path.stat().st_size / 1e9}


def report(_: argparse.Namespace) -> dict[str, Any]:
    """All that the report of the campaign shows, but for its lineage: what was sampled, and parity."""
    from aiida_hqe.report import collect

    pk, start = newest().pk, peak()
    found = {name: timed(lambda call=call: call(pk), 1) for name, call in {
        "selections": collect._selections, "parity": collect._parity}.items()}  # fmt: skip
    return {**found, "peak_GB": peak(), "peak_before_GB": start}


STEPS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "queries": queries_of, "batch": batch, "selection": selection, "bytes": size, "file": training_file, "report": report,
}  # fmt: skip
HIDDEN = {"subject": subject, "sample": sample}

if __name__ == "__main__":
    main()
