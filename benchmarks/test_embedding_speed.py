"""What the embedding costs: its own part, beside nbed, truncated virtuals, growth with the environment. Printed, never asserted.

Every calculation is a process of its own on one thread, and its CPU time is what is printed. `NBED_PYTHON=/path/to/python`,
a Python with PyPI's nbed, adds the comparison with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SPEED = Path(__file__).with_name("speed")
FITTED = {"density_fit": True}
TRUNCATED = {"density_fit": True, "frozen_core": True, "virtuals": {"shells": 1}}


def run(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """JSON that a script of benchmarks/speed prints on its last line."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [python, str(SPEED / script), *arguments]
    done = subprocess.run(command, env={**os.environ, **one}, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(waters: int, **options: Any) -> dict[str, Any]:
    """One calculation of ours; `environment`, `method` and `embedding` are parts of the level."""
    level = {"environment": options.pop("environment", {}), "core": options.pop("method", {"method": "hf"})}
    level["embedding"] = options.pop("embedding", {})
    return run(sys.executable, "measure.py", json.dumps({"waters": waters, "level": level, **options}))


def own(seconds: dict[str, float]) -> float:
    """The embedding's own part: partition, embedding potential, embedded mean field, virtual and integral transformations."""
    return sum(seconds.get(name, 0.0) for name in ("partition", "mean_field", "virtuals", "integrals"))


def total_energy(found: dict[str, Any]) -> float:
    """Energy of the target level in hartree."""
    return float(sum(found[f"{part}_energy"] for part in ("environment", "mean_field", "correlation", "triples")))


@pytest.mark.parametrize(
    ("name", "waters", "options"),
    [
        ("O-H of methanol in charges, exact, CCSD(T)", 0, {"core": "hydroxyl", "method": {}, "charges": True}),
        ("methanol in 1 water, exact", 1, {}),
        ("methanol in 2 waters, exact", 2, {}),
        ("methanol in 2 waters, exact, nonlinear", 2, {"embedding": {"functional": "nonlinear"}}),
        ("methanol in 2 waters, fitted", 2, {"environment": FITTED, "method": TRUNCATED}),
        ("methanol in 2 waters, fitted, PBE0", 2, {"environment": {**FITTED, "xc": "pbe0"}, "method": TRUNCATED}),
        ("methanol in 4 waters, fitted", 4, {"environment": FITTED, "method": TRUNCATED}),
    ],
)
def test_own_part(name: str, waters: int, options: dict[str, Any]) -> None:
    seconds = measure(waters, **options)["seconds"]
    ratio = own(seconds) / seconds["environment"]
    print(f"\n{name}: environment {seconds['environment']:.1f} s, own part {own(seconds):.2f} s, {100 * ratio:.0f} %")


@pytest.mark.parametrize("waters", [1, 2])
def test_beside_nbed(waters: int) -> None:
    python = os.environ.get("NBED_PYTHON")
    if not python:
        pytest.skip("NBED_PYTHON names no Python with nbed")
    theirs = run(python, "run_nbed.py", str(waters), "6-31g", "3")
    ours = measure(
        waters,
        environment={"basis": "6-31g", "grid_level": 3},
        method={"method": "ccsd"},
        embedding={"projector": {"level_shift": 1e6}},
    )
    seconds = ours["seconds"]["environment"] + own(ours["seconds"]) + ours["seconds"]["solver"]
    print(
        f"\nCCSD in PBE, 6-31G, methanol in {waters} waters: {seconds:.1f} s, nbed {theirs['version']} {theirs['seconds']:.1f} s,"
        f" {theirs['seconds'] / seconds:.1f} times; energies differ by {total_energy(ours) - theirs['energy']:.1e} hartree"
    )


def test_truncated_virtuals() -> None:
    environment = {**FITTED, "grid_level": 1}
    full = measure(4, environment=environment, method={**TRUNCATED, "virtuals": "full"})
    print(f"\nCCSD(T) of methanol in 4 waters, {full['virtuals']} virtuals: {full['seconds']['correlated']:.1f} s")
    for shells in (1, 2):
        part = measure(4, environment=environment, method={**TRUNCATED, "virtuals": {"shells": shells}})
        error = 1e3 * (total_energy(part) - total_energy(full))
        print(
            f"\n{part['virtuals']} virtuals: {part['seconds']['correlated']:.2f} s,"
            f" {full['seconds']['correlated'] / part['seconds']['correlated']:.1f} times faster, error {error:+.3f} mEh,"
            f" with the MP2 correction {error + 1e3 * part['mp2_correction']:+.3f} mEh"
        )


@pytest.mark.parametrize("waters", [1, 2, 4, 8, 12])
def test_growth(waters: int) -> None:
    found = measure(waters, environment=FITTED, method=TRUNCATED)
    seconds = found["seconds"]
    print(
        f"\nmethanol in {waters} waters, {found['orbitals']} basis functions: environment {seconds['environment']:.1f} s,"
        f" own part {own(seconds):.2f} s, CCSD(T) in {found['virtuals']} virtuals {seconds['solver']:.2f} s,"
        f" MP2 of the whole virtual space {seconds['mp2']:.2f} s,"
        f" peak memory {found['peak_memory'] / 1e3:.2f} GB"
    )
