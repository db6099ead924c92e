"""``cores`` on files: what it proposes, its page and picture, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from commands import run

from aiida_hqe.frames import Frame, Frames

LEVEL = """
environment: {basis: sto-3g, grid_level: 0}
core: {method: hf}
"""

PAIR = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [0.3, 0.2, 3.2], [1.2, 0.5, 3.3], [-0.1, 1.0, 3.6]]
"""Two water molecules."""


def pair(stretch: float = 1.0, **changes: object) -> Frame:
    """The pair, one O-H bond of the first molecule stretched, whose atoms are marked as a core."""
    positions = [list(row) for row in PAIR]
    positions[1][0] *= stretch
    fields = {"numbers": [8, 1, 1] * 2, "positions": positions, "charge": 0, "spin": 0, "core": [1, 1, 1, 0, 0, 0]}
    return Frame(**(fields | changes))


@pytest.fixture
def level_file(tmp_path: Path) -> Path:
    path = tmp_path / "level.yaml"
    path.write_text(LEVEL)
    return path


@pytest.fixture
def frames_file(tmp_path: Path) -> Path:
    path = tmp_path / "frames.xyz"
    Frames([pair(), pair(1.3)]).write(path)
    return path


def test_a_stretched_bond_is_proposed_with_its_number_of_orbitals(frames_file: Path, level_file: Path) -> None:
    result = run("cores", frames_file, "--level", level_file)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^core 1: atoms O0 H1: \d orbitals \(smallest gap 0\.\d+", result.stdout, flags=re.MULTILINE)
    assert "O0-H1 bond" in result.stdout
    assert re.search(r"for the level file: core_orbitals: \[\d\]", result.stdout)
    assert "core 1: atoms O0 H1 H2: 5 orbitals" in result.stdout
    assert "1.36 eV in kinetic energy or 0.05 in location" in result.stdout


def test_what_is_proposed_can_be_labelled(tmp_path: Path, frames_file: Path, level_file: Path) -> None:
    marked = tmp_path / "marked.xyz"
    result = run("cores", frames_file, "--level", level_file, "--json", "--mark", marked)
    (core,) = json.loads(result.stdout)["cores"]
    assert core["atoms"] == [0, 1]
    orbitals = core["choice"]["orbitals"]
    level_file.write_text(LEVEL + f"embedding: {{core_orbitals: [{orbitals}]}}\n")
    labels = json.loads(run("label", marked, "--level", level_file, "--json").stdout)
    assert [found["status"] for found in labels] == ["ok", "ok"]
    assert [found["cores"][0]["orbitals"] for found in labels] == [orbitals] * 2
    assert min(found["cores"][0]["gap"] for found in labels) == pytest.approx(core["choice"]["gap"], abs=1e-6)


def test_the_page_holds_the_picture_and_no_address(tmp_path: Path, frames_file: Path, level_file: Path) -> None:
    page = tmp_path / "page.html"
    assert run("cores", frames_file, "--level", level_file, "-o", page).exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == 1
    assert "://" not in text
    for expected in ("O0 H1", "O0-H1 bond", "core_orbitals:", "Marked core", "Proposed core"):
        assert expected in text


def test_the_picture_is_a_picture(tmp_path: Path, frames_file: Path, level_file: Path) -> None:
    picture = tmp_path / "picture.png"
    assert run("cores", frames_file, "--level", level_file, "-o", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_frames_that_are_alike_have_no_core_and_say_so(tmp_path: Path, level_file: Path) -> None:
    path, page = tmp_path / "same.xyz", tmp_path / "page.html"
    Frames([pair(core=[0] * 6), pair(core=[0] * 6)]).write(path)
    result = run("cores", path, "--level", level_file, "-o", page)
    assert result.exit_code == 0
    assert "no core. The frames are alike" in result.stdout
    assert "core_orbitals" not in result.stdout
    assert "No cores proposed" in page.read_text()
    assert "The frames are alike" in page.read_text()


def test_thresholds_decide(frames_file: Path, level_file: Path) -> None:
    result = run("cores", frames_file, "--level", level_file, "--kinetic", "1000 eV", "--location", "2")
    assert ": no core. Lower the thresholds" in result.stdout
    result = run("cores", frames_file, "--level", level_file, "--kinetic", "1e-7 eV", "--json")
    assert sum(len(core["atoms"]) for core in json.loads(result.stdout)["cores"]) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kinetic", "0.05"], "no unit"),
        (["--kinetic", "-1 eV"], "above zero"),
        (["-o", "page.pdf"], ".html or .png"),
        (["--mark", "marked.txt"], ".xyz"),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(
    frames_file: Path, level_file: Path, arguments: list[str], words: str
) -> None:
    result = run("cores", frames_file, "--level", level_file, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_frames_that_cannot_be_compared_are_refused(tmp_path: Path, level_file: Path) -> None:
    path = tmp_path / "frames.xyz"
    other = pair(numbers=[8, 1, 1, 9, 1, 1], charge=1)
    cases = [([pair()], "two or more"), ([pair(), other], "one molecule")]
    overlapping = pair(mm_numbers=[11], mm_positions=[[0.0, 0.0, 0.1]], mm_charges=[1.0])
    for frames, words in [
        *cases,
        ([pair(), overlapping], f"frame {overlapping.hash[:12]}: point charge 0 lies on QM atom 0"),
    ]:
        Frames(frames).write(path)
        result = run("cores", path, "--level", level_file)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr.splitlines()[-1]


def test_label_chooses_open_core_orbitals_once_for_the_file(
    tmp_path: Path, frames_file: Path, level_file: Path
) -> None:
    result = run("label", frames_file, "--level", level_file, "--json")
    assert result.exit_code == 0, result.stderr
    assert [found["cores"][0]["orbitals"] for found in json.loads(result.stdout)] == [5, 5]
    assert "core_orbitals: [5] chosen for all frames of one molecule" in result.stderr


def test_label_refuses_open_core_orbitals_without_a_clear_gap(tmp_path: Path, level_file: Path) -> None:
    """Two bonds of four hydrogens, between the atoms of the core in one frame and across its boundary in the other."""
    places = [[0.0, 0.0, 0.0], [0.8, 0.0, 0.0], [0.0, 2.0, 0.0], [0.8, 2.0, 0.0]]
    across = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.8, 0.0], [2.0, 0.8, 0.0]]
    fields = {"numbers": [1] * 4, "charge": 0, "spin": 0, "core": [1, 1, 0, 0]}
    unclear = [Frame(positions=each, **fields) for each in (places, across)]
    path = tmp_path / "mixed.xyz"
    Frames([*unclear, pair()]).write(path)
    result = run("label", path, "--level", level_file, "--json")
    assert result.exit_code == 2
    labels = json.loads(result.stdout)
    assert [found["status"] for found in labels] == ["failed", "failed", "ok"]
    for found, frame in zip(labels, unclear, strict=False):
        assert found["error_kind"] == "input"
        assert frame.hash[:12] in found["message"]
        assert "core 1 has no clear number of orbitals in all of 2 frames" in found["message"]
        assert "fix core_orbitals" in found["message"]


def test_a_resumed_file_drops_labels_of_another_choice(tmp_path: Path, frames_file: Path, level_file: Path) -> None:
    from aiida_hqe.cli.journal import Journal
    from aiida_hqe.embedding.label import label
    from aiida_hqe.embedding.level import Level

    level = Level.model_validate({"environment": {"basis": "sto-3g", "grid_level": 0}, "core": {"method": "hf"}})
    found = label(pair(), level)
    other = found.model_copy(update={"cores": [found.cores[0].model_copy(update={"orbitals": 4})], "energy": 0.0})
    Journal.beside(tmp_path / "out.xyz", level).add(other)
    result = run("label", frames_file, "--level", level_file, "-o", tmp_path / "out.xyz")
    assert result.exit_code == 0, result.stderr
    assert Frames.read(tmp_path / "out.xyz")[0].energy == pytest.approx(found.energy, abs=1e-8)
