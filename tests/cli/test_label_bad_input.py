"""``label`` in a batch with what cannot be computed: a typed error that names frame and remedy, and costs that frame only."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_systems import WATER

from aiida_hqe.cli import main
from aiida_hqe.frames import Frame, Frames


def water(**changes: Any) -> Frame:
    fields = {"numbers": [8, 1, 1], "positions": WATER, "charge": 0, "spin": 0, "core": [1, 1, 0]}
    return Frame(**(fields | changes))


def labels(tmp_path: Path, frames: list[Frame], **level: object) -> list[dict[str, Any]]:
    """What ``label --json`` prints about the frames, its exit code and messages checked."""
    Frames(frames).write(tmp_path / "frames.h5")
    environment = {"basis": "sto-3g", "grid_level": 0, **level.pop("environment", {})}  # type: ignore[dict-item]
    whole = {"environment": environment, "core": {"method": "hf"}, "embedding": {"core_orbitals": [4]}, **level}
    (tmp_path / "level.yaml").write_text(json.dumps(whole))
    arguments = ["label", str(tmp_path / "frames.h5"), "--level", str(tmp_path / "level.yaml"), "--json"]
    result = CliRunner().invoke(main, arguments)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    failed = [one for one in found if one["status"] == "failed"]
    kinds = {one["error_kind"] for one in failed}
    assert result.exit_code == (2 if "input" in kinds else 1 if failed else 0)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("frame ")]
    assert lines == [one["message"] for one in failed]
    return found


def check_failed(found: dict[str, Any], frame: Frame, kind: str, *words: str) -> None:
    assert (found["status"], found["error_kind"], found["energy"]) == ("failed", kind, None)
    assert found["message"].startswith(f"frame {frame.hash[:12]}: ")
    for word in words:
        assert word in found["message"]


HYDROGEN = {"numbers": [1, 1], "positions": [[0.0, 0.0, 0.0], [0.75, 0.0, 0.0]], "core": [1, 0]}
PROTON = {"numbers": [10, 1], "positions": [[0.0, 0.0, 0.0], [0.0, 0.0, 8.0]], "charge": 1, "core": [0, 1]}
RADON = {"numbers": [86, 1, 1]}
ON_TOP = {"mm_numbers": [11], "mm_positions": [[0.0, 0.0, 0.1]], "mm_charges": [1.0]}
CROWDED = {
    "numbers": [8, 1, 1, 1, 1],
    "positions": [*WATER, [0.96, 0.0, 0.4], [-0.24, 0.93, 0.4]],
    "core": [1] * 5,
}


@pytest.mark.filterwarnings("ignore:Basis may be available:UserWarning")
@pytest.mark.parametrize(
    ("changes", "environment", "words"),
    [
        (HYDROGEN, {}, ["1 to 1 of the occupied orbitals (got 4)", "correct core_orbitals"]),
        (PROTON, {}, ["gap", "hold no orbitals of their own: choose other core atoms"]),
        (
            {"core": [0, 1, 0]},
            {},
            ["gap", "at least 0.1", "choose another number of core orbitals or other core atoms"],
        ),
        (RADON, {"basis": "6-31g"}, ["6-31g", "Rn", "choose a basis that covers the elements"]),
        (ON_TOP, {}, ["point charge 0 lies on QM atom 0", "correct the coordinates or remove the charge"]),
        ({"core": [1, 2, 0]}, {}, ["one number for each of the 2 cores (got [4])", "correct the list"]),
    ],
    ids=["more than occupied", "no orbital", "gap", "basis", "charge", "cores"],
)
def test_a_frame_that_cannot_be_labelled_costs_itself_only(
    tmp_path: Path, changes: dict[str, Any], environment: dict[str, Any], words: list[str]
) -> None:
    bad = water(**changes)
    before, failed, after = labels(tmp_path, [water(), bad, water(charge=2)], environment=environment)
    check_failed(failed, bad, "input", *words)
    assert (before["status"], after["status"]) == ("ok", "ok")


def test_a_linearly_dependent_basis_costs_the_frame_whose_atoms_crowd(tmp_path: Path) -> None:
    helium, crowded = water(numbers=[2], positions=[[0.0, 0.0, 0.0]], core=[0]), water(**CROWDED)
    good, failed = labels(tmp_path, [helium, crowded], environment={"basis": "aug-cc-pvtz"})
    check_failed(failed, crowded, "input", "linearly dependent", "choose a basis with fewer diffuse functions")
    assert good["status"] == "ok"


def test_an_unknown_functional_is_named_with_every_frame(tmp_path: Path) -> None:
    frames = [water(), water(charge=2)]
    for found, frame in zip(labels(tmp_path, frames, environment={"xc": "pbee"}), frames, strict=True):
        check_failed(found, frame, "input", "'pbee'", "choose one of PySCF's names")


@pytest.mark.skipif(importlib.util.find_spec("pyscf.lno") is not None, reason="pyscf-forge is installed")
def test_local_coupled_cluster_without_its_package_costs_the_frames_that_have_a_core(tmp_path: Path) -> None:
    bare = water(core=[0, 0, 0])
    core = {"method": "lno-ccsd(t)", "density_fit": True}
    failed, good = labels(tmp_path, [water(), bare], core=core)
    check_failed(failed, water(), "resource", "pip install 'aiida-hqe[lno]'", "or choose ccsd(t)")
    assert good["status"] == "ok"
