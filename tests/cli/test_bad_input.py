"""Bad input to any command on files: exit code 2, one line with the remedy, no traceback, and nothing written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import refused, run

from aiida_hqe.campaign.template import copy
from aiida_hqe.frames import Frame, Frames

XYZ = """4
Properties=species:S:1:pos:R:3:region:S:1:mm_charge:R:1:core:I:1 charge=0 spin=0
O 0.0 0.0 0.0 QM 0.0 1
H 0.96 0.0 0.0 QM 0.0 1
H -0.24 0.93 0.0 QM 0.0 0
H 3.0 0.5 0.2 MM 0.4 0
"""

CAMPAIGN = {
    "no unit": ("cutoff: 8.5 angstrom", "cutoff: 8.5", "with its unit"),
    "wrong unit": ("box: 23 angstrom", "box: 23 K", "nm"),
    "unknown key": ("forcefield:", "forcefeild:", "did you mean forcefield?"),
    "QM atom out of range": ("{residues: [MOH]}", "{atoms: [7]}", "0 to 5"),
    "core index out of range": ("atoms: [4, 5]", "atoms: [6]", "0 to 5"),
    "odd electrons": ("spin: 0", "spin: 1", "spin is 2S"),
    "charge against the force field": ("charge: 0 ", "charge: -1 ", "force field"),
    "cut bond": ("{residues: [MOH]}", "{atoms: [0, 4, 5]}", "C-C single bond"),
    "core outside the QM region": ("{residues: [MOH]}", "{atoms: [0, 1, 2, 3]}", "add it to system.qm"),
    "cutoff above half the box": ("cutoff: 8.5 angstrom", "cutoff: 11 angstrom", "box"),
    "residue without parameters": ("[methanol.xml, tip3p.xml]", "[tip3p.xml]", "parameters"),
    "target error of zero": ("200 meV/angstrom", "0 eV/angstrom", "greater than 0"),
    "box in another unit": ("box: 23 angstrom", "box: 230 nm", "at most 300 angstrom was expected (got 2300 angstrom)"),
    "basis without a name": ("basis: def2-svp", "basis: ''", "the name of a basis"),
    "comma in a basis": ("basis: def2-svp", "basis: 6-31G(d,p)", "needs quotes, such as '6-31g(d,p)'"),
    "decimal comma": ("cutoff: 8.5 angstrom", "cutoff: 8,5 angstrom", "with a decimal point"),
    "number out of reach": ("steps: 1000 ", "steps: 99999999999999999999 ", "beyond 2^31"),
    "long name": ("name: methanol in water", "name: " + 81 * "x", "at most 80 characters"),
    "one member": ("members: 4", "members: 1", "at least 2"),
}

FRAMES: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda text: "", "empty"),
    "truncated": (lambda text: text[: text.index("H -0.24")], "truncated"),
    "NaN": (lambda text: text.replace("0.93", "nan"), "finite"),
    "overlapping": (lambda text: text.replace("H 0.96", "H 0.01"), "overlap"),
    "odd electrons": (lambda text: text.replace("charge=0", "charge=1"), "spin"),
    "no charge": (lambda text: text.replace("charge=0 ", ""), "charge"),
    "unknown element": (lambda text: text.replace("O 0.0", "Qq 0.0"), "Qq"),
}


def one_line(arguments: list[str | Path], remedy: str, where: str) -> None:
    line = refused(*arguments)
    assert line.startswith(where)
    assert remedy in line


@pytest.mark.parametrize("case", CAMPAIGN)
def test_a_bad_campaign(tmp_path: Path, case: str) -> None:
    old, new, remedy = CAMPAIGN[case]
    path = copy("methanol-water", tmp_path)[0]
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    for command in ("check", "plan"):
        one_line([command, path], remedy, f"{path}:")


@pytest.mark.parametrize("case", FRAMES)
def test_bad_frames(tmp_path: Path, case: str) -> None:
    spoil, remedy = FRAMES[case]
    path = tmp_path / "frames.xyz"
    path.write_text(spoil(XYZ))
    level = tmp_path / "level.yaml"
    level.write_text("core: {method: hf}\n")
    for arguments in (["label", path, "--level", level], ["train", path, "-o", tmp_path / "c.safetensors"]):
        one_line(arguments, remedy, f"{path}:")
    assert not (tmp_path / "c.safetensors").exists()


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_truncated_hdf5_frames_or_none(tmp_path: Path, size: int) -> None:
    path = tmp_path / "frames.h5"
    Frames([Frame(numbers=[2], positions=np.zeros((1, 3)), charge=0, spin=0)]).write(path)
    path.write_bytes(path.read_bytes()[:size])
    result = run("train", path, "-o", tmp_path / "c.safetensors")
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) == 1
    assert str(path) in result.stderr


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("core: {method: ccsdt}\n", "did you mean ccsd"),
        ("core: {metod: ccsd}\n", "did you mean method?"),
        ("environment: {grid_level: 12}\n", "at most 9"),
        ("embedding: {projector: {level_shift: 0}}\n", "greater than 0"),
        ("core: {virtuals: {threshold: 0.1}}\n", "with its unit"),
        ("{", "YAML"),
    ],
)
def test_a_bad_level(tmp_path: Path, text: str, remedy: str) -> None:
    frames, level = tmp_path / "frames.xyz", tmp_path / "level.yaml"
    frames.write_text(XYZ)
    level.write_text(text)
    one_line(["label", frames, "--level", level], remedy, f"{level}:")


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    none, frames = tmp_path / "none", tmp_path / "frames.xyz"
    frames.write_text(XYZ)
    for arguments in (
        ["check", none],
        ["plan", tmp_path],
        ["label", frames, "--level", none],
        ["train", none, "-o", tmp_path / "c.safetensors"],
        ["train", frames, "-o", tmp_path / "c.safetensors", "--settings", none],
        ["predict", none, frames],
        ["sample", none, "-o", tmp_path / "out.h5"],
    ):
        one_line(
            arguments,
            "expected",
            str(arguments[-1] if arguments[-1] == none else none if none in arguments else tmp_path),
        )


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    frames, level = tmp_path / "frames.xyz", tmp_path / "level.yaml"
    frames.write_text(XYZ)
    level.write_text("core: {method: hf}\n")
    for output in (tmp_path / "out.txt", tmp_path / "nowhere" / "out.xyz", tmp_path / "folder.xyz"):
        (tmp_path / "folder.xyz").mkdir(exist_ok=True)
        one_line(["label", frames, "--level", level, "-o", output], "expected", str(output))
    one_line(["train", frames, "-o", tmp_path / "c.pt"], ".safetensors", str(tmp_path / "c.pt"))


def test_training_on_frames_without_labels(tmp_path: Path) -> None:
    frames = tmp_path / "frames.xyz"
    frames.write_text(XYZ + XYZ.replace("0.96", "0.97"))
    one_line(["train", frames, "-o", tmp_path / "c.safetensors"], "a label was expected", f"{frames}: ")
    assert not (tmp_path / "c.safetensors").exists()


@pytest.mark.parametrize("trust", ["1", "1 eV", "0 eV/angstrom", "much"])
def test_a_trust_limit_must_be_a_force_above_zero(tmp_path: Path, trust: str) -> None:
    path = copy("methanol-water", tmp_path)[0]
    system = path.read_text()[path.read_text().index("system:") : path.read_text().index("levels:")]
    (tmp_path / "system.yaml").write_text(system)
    one_line(["sample", tmp_path / "system.yaml", "-o", tmp_path / "o.h5", "--trust", trust], "force", "--trust: ")


def test_a_shell_sees_exit_code_2_and_one_line(tmp_path: Path) -> None:
    path = copy("methanol-water", tmp_path)[0]
    path.write_text(path.read_text().replace("basis: def2-svp", "basis: def3-svp"))
    script = "from aiida_hqe.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", script, "check", str(path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"{path}:")
    assert ended.stdout == ""
