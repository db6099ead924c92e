"""A committee as a file: out of a campaign with its calibration, into a profile, and what is refused on the way.

What is refused ends with one line that says what to do, and neither stores a node nor writes a file. Exit code 2 asks for other
input; damaged files and trainings that diverge end with 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from campaign_graph import DOCUMENT, Builder
from commands import printed, refused, run
from safetensors import safe_open
from safetensors.torch import save_file
from small_systems import WATER

from aiida_hqe.data.committee import CommitteeData
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.storage import FORMAT, checksum
from aiida_hqe.selection.calibration import Calibration, calibrate


def labelled_waters(count: int) -> Frames:
    """Distorted waters beside two charges, with made-up labels."""
    random = np.random.default_rng(2)
    return Frames(
        Frame(
            numbers=[8, 1, 1],
            positions=WATER + random.normal(0.0, 0.03, (3, 3)),
            charge=0,
            spin=0,
            mm_numbers=[8, 1],
            mm_positions=[[3.0, 0.0, 0.0], [-3.0, 0.5, 0.0]],
            mm_charges=[-0.4, 0.4],
            environment_energy=-2000.0,
            environment_forces=random.normal(size=(3, 3)),
            environment_mm_forces=random.normal(size=(2, 3)),
        )
        for _ in range(count)
    )


@pytest.fixture(scope="module")
def committee() -> Committee:
    """Two small networks with random weights."""
    settings = PotentialSettings(features=4, interactions=1, radial_functions=4, cutoff="3 angstrom")
    members = []
    for number in range(2):
        network = Network(build(settings, 0, seed=number).state_dict(), {1: -10.0, 8: -2000.0}, True)
        members.append(Member(number, 1, {"environment": network}))
    ranges = {"frames": 8.0, "largest_potential": 2.0, "largest_field": 1.0}
    return Committee(members, settings=settings, learn="direct", elements=[1, 8], charge=0, spin=0, ranges=ranges)


@pytest.fixture(scope="module")
def path(committee: Committee, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("committee") / "c.safetensors"
    committee.save(found)
    return found


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("frames") / "frames.xyz"
    labelled_waters(4).write(found)
    return found


def campaign_of(path: Path, calibration: dict[str, Any] | None, hqe_code: Any) -> orm.WorkChainNode:
    """A campaign that gave this committee and this calibration."""
    builder = Builder(path.parent, hqe_code.computer, DOCUMENT)
    outputs = {
        "committee": builder.made(builder.function("functions.assemble"), "result", CommitteeData.from_file(path))
    }
    if calibration is not None:
        creator = builder.function("functions.calibrate")
        outputs["calibration"] = builder.made(creator, "calibration", orm.Dict(calibration))
    for label, node in outputs.items():
        node.base.links.add_incoming(builder.campaign, LinkType.RETURN, label)
    return builder.campaign


def test_an_exported_committee_carries_its_calibration_to_predictions_elsewhere(
    committee: Committee, path: Path, frames: Path, hqe_code: Any, tmp_path: Path
) -> None:
    held_out = labelled_waters(8)
    calibration = calibrate(held_out, committee.predict_batch(held_out), 0.6).model_dump(mode="json")
    campaign = campaign_of(path, calibration, hqe_code)
    bare, bounded = tmp_path / "bare.safetensors", tmp_path / "bounded.safetensors"
    assert "2 members" in printed("export", "committee", campaign.pk, "-o", bare)
    assert "2 members" in printed("export", "committee", campaign.pk, "--calibrated", "-o", bounded)
    assert bare.read_bytes() == path.read_bytes()

    without, found = (json.loads(printed("predict", file, frames, "--json")) for file in (bare, bounded))
    bound = Calibration.model_validate(calibration).force_bound
    for plain, one in zip(without, found, strict=True):
        assert plain["bound"] is None
        assert one["bound"] == pytest.approx(bound(one["disagreement"]))
        assert 0.0 < one["disagreement"] < one["bound"]
        assert one["forces"] == plain["forces"]

    node = orm.load_node(json.loads(printed("import", bounded, "--json"))["uuid"])
    assert (node.n_members, node.elements, node.levels) == (2, [1, 8], ["environment"])
    assert node.content == bounded.read_bytes()
    assert node.committee().calibration == Committee.load(bounded).calibration


def test_a_campaign_without_calibration_says_so_and_writes_nothing(path: Path, hqe_code: Any, tmp_path: Path) -> None:
    campaign = campaign_of(path, None, hqe_code)
    target = tmp_path / "bounded.safetensors"
    assert "has no calibration yet" in refused("export", "committee", campaign.pk, "--calibrated", "-o", target)
    assert not target.exists()


def test_a_calibration_that_is_none_is_a_damaged_file(committee: Committee, frames: Path, tmp_path: Path) -> None:
    committee.replace(calibration={"force_factor": "large"}).save(tmp_path / "c.safetensors")
    assert "a calibration was expected" in refused("predict", tmp_path / "c.safetensors", frames, "--json", code=1)


def flipped(source: Path, target: Path) -> None:
    """The last bit of the last weight."""
    content = bytearray(source.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)


def cut(part: float) -> Callable[[Path, Path], None]:
    """The first part of the file."""

    def write(source: Path, target: Path) -> None:
        content = source.read_bytes()
        target.write_bytes(content[: round(part * len(content))])

    return write


def changed(**entries: Any) -> Callable[[Path, Path], None]:
    """A file of somebody else, whose checksum fits."""

    def write(source: Path, target: Path) -> None:
        with safe_open(source, framework="pt") as file:
            document = json.loads(file.metadata()["hqe"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        del document["checksum"]
        document |= entries
        document["checksum"] = checksum(document, tensors)
        save_file(tensors, target, {"hqe": json.dumps(document, sort_keys=True)})

    return write


DAMAGED: dict[str, tuple[Callable[[Path, Path], None], str, int]] = {
    "a changed weight": (flipped, "checksum", 1),
    "nothing in it": (cut(0.0), "restore", 1),
    "truncated in the header": (cut(0.05), "restore", 1),
    "truncated in the weights": (cut(0.95), "restore", 1),
    "other units": (changed(units={"energy": "hartree", "length": "bohr", "charge": "e"}), "hartree", 2),
    "energies for fewer elements": (changed(elements=[1, 6, 8]), "lacks [6]", 2),
    "of a later version": (changed(format=FORMAT + 1), "update aiida-hqe", 2),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_committee_that_is_not_whole_or_means_something_else_is_refused_by_every_command(
    case: str, path: Path, frames: Path, aiida_profile: Any, tmp_path: Path
) -> None:
    damage, remedy, code = DAMAGED[case]
    bad = tmp_path / "bad.safetensors"
    damage(path, bad)
    count = orm.QueryBuilder().append(CommitteeData).count()
    assert remedy in refused("import", bad, code=code)
    assert remedy in refused("predict", bad, frames, "--json", code=code)
    assert orm.QueryBuilder().append(CommitteeData).count() == count


def test_charges_outside_the_training_range_are_refused_at_predict_time(
    path: Path, frames: Path, tmp_path: Path
) -> None:
    near = Frames(
        f.replace(mm_positions=0.35 * f.mm_positions, mm_charges=20 * f.mm_charges) for f in Frames.read(frames)
    )
    Frames(frame.unlabelled() for frame in near).write(tmp_path / "near.xyz")
    assert "3 times the largest in training" in refused("predict", path, tmp_path / "near.xyz", "--json")


def test_another_charge_of_the_region_is_refused_at_predict_time(path: Path, frames: Path, tmp_path: Path) -> None:
    ions = Frames(frame.unlabelled().replace(charge=1, spin=1) for frame in Frames.read(frames))
    ions.write(tmp_path / "ions.xyz")
    assert "train one for it" in refused("predict", path, tmp_path / "ions.xyz", "--json")


TRAINING = "potential: {features: 4, interactions: 1, radial_functions: 4}\ntraining: {members: 2, epochs: 2}\n"


def _without(frame: Frame, *names: str) -> Frame:
    return frame.replace(**dict.fromkeys(names))


UNTRAINABLE: dict[str, tuple[Callable[[Frames], list[Frame]], str]] = {
    "no MM forces": (lambda f: [_without(one, "environment_mm_forces") for one in f], "no environment_mm_forces"),
    "MM forces of some": (lambda f: [*f[:3], _without(f[3], "environment_mm_forces")], "label all frames at the same"),
    "mixed levels": (lambda f: [*f[:3], f[3].replace(energy=-2001.0)], "label all frames at the same level"),
    "mixed charges": (lambda f: [*f[:3], f[3].replace(charge=1, spin=1)], "one charge and spin"),
}


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_frames_that_cannot_train_a_network_together_are_refused(case: str, frames: Path, tmp_path: Path) -> None:
    change, remedy = UNTRAINABLE[case]
    Frames(change(Frames.read(frames))).write(tmp_path / "bad.xyz")
    (tmp_path / "settings.yaml").write_text(TRAINING)
    target = tmp_path / "c.safetensors"
    arguments = [tmp_path / "bad.xyz", "-o", target, "--settings", tmp_path / "settings.yaml"]
    assert remedy in refused("train", *arguments)
    assert not target.exists()


def test_a_diverging_training_names_the_frames_on_one_line(frames: Path, tmp_path: Path) -> None:
    wild = TRAINING.replace("epochs: 2", "epochs: 20, learning_rate: 1000, final_learning_rate: 1000")
    (tmp_path / "settings.yaml").write_text(wild)
    target = tmp_path / "c.safetensors"
    result = run("train", frames, "-o", target, "--settings", tmp_path / "settings.yaml")
    assert result.exit_code == 1
    _, line = result.stderr.splitlines()  # the first one says what began
    assert "lower the learning rate" in line
    assert any(name[:12] in line for name in Frames.read(frames).hashes)
