"""A potential on top of a baseline: labels, training, prediction, dynamics' derivatives, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aiida_hqe.baseline.baseline import Baseline, evaluate, with_baseline
from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.training.settings import TrainingSettings
from aiida_hqe.training.train import train_member

POTENTIAL = PotentialSettings(
    features=4, interactions=1, radial_functions=6, cutoff="4 angstrom", baseline="hf-minimal"
)
TRAINING = TrainingSettings(epochs=4, target_epochs=2, batch_size=4, members=2)


def linear(frame: Frame, scale: float) -> Baseline:
    """`scale` times the label of the environment, as if a baseline had said so."""
    assert frame.environment_energy is not None
    assert frame.environment_forces is not None
    assert frame.environment_mm_forces is not None
    return Baseline(
        scale * frame.environment_energy,
        scale * frame.environment_forces,
        scale * frame.environment_mm_forces,
        np.zeros(frame.n_mm),
    )


@pytest.fixture(scope="module")
def labelled() -> Frames:
    return Frames(Frames.read(Path(__file__).parent.parent / "data" / "methanol_water.h5")[:6])


def test_what_the_baseline_knows_already_is_not_learned(labelled: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a perfect baseline the first loss is that of an untrained network whose output is scaled to nothing."""
    monkeypatch.setattr("aiida_hqe.baseline.baseline.evaluate", lambda frame, name: linear(frame, 1.0))
    monkeypatch.setattr("aiida_hqe.potentials.committee.evaluate", lambda frame, name: linear(frame, 1.0))
    settings = POTENTIAL.model_copy(update={"latent_charges": False})
    committee, _ = train_member(labelled, settings, TRAINING, member=0, seed=1)
    found = committee.predict(labelled[5])
    assert np.abs(found.environment_forces[0] - labelled[5].environment_forces).max() < 0.02
    np.testing.assert_allclose(found.environment_mm_forces[0], labelled[5].environment_mm_forces, atol=0.02)
    assert found.environment_energies[0] == pytest.approx(labelled[5].environment_energy, abs=0.02)


def test_predictions_are_the_networks_plus_the_baseline_and_survive_a_file(labelled: Frames, tmp_path: Path) -> None:
    frames = with_baseline(labelled, "hf-minimal")
    committee, _ = train_member(frames, POTENTIAL, TRAINING, member=0, seed=1)
    bare = committee.replace(settings=POTENTIAL.model_copy(update={"baseline": "none"}))
    frame = frames[0].unlabelled()
    base, found, networks = evaluate(frame, "hf-minimal"), committee.predict(frame), bare.predict(frame)
    np.testing.assert_allclose(found.environment_energies, networks.environment_energies + base.energy)
    np.testing.assert_allclose(found.forces, networks.forces + base.forces, atol=1e-10)
    np.testing.assert_allclose(found.mm_forces, networks.mm_forces + base.mm_forces, atol=1e-10)
    driven, alone = committee.evaluate(frame), bare.evaluate(frame)
    np.testing.assert_allclose(driven.charge_gradient, alone.charge_gradient + base.charge_gradient, atol=1e-10)
    assert driven.energy == pytest.approx(found.energy, abs=1e-8)
    assert driven.disagreement == pytest.approx(alone.disagreement)
    committee.save(tmp_path / "c.safetensors")
    again = Committee.load(tmp_path / "c.safetensors")
    assert again.settings.baseline == "hf-minimal"
    # The baseline's self-consistent field is converged anew, on several threads not bit by bit.
    np.testing.assert_allclose(again.predict(frame).forces, found.forces, rtol=0, atol=1e-10)


def test_a_label_carries_the_baseline_that_its_level_names(labelled: Frames) -> None:
    level = Level.model_validate(
        {"environment": {"xc": "lda,vwn", "basis": "sto-3g", "grid_level": 0}, "baseline": "hf-minimal"}
    )
    bare = labelled[0].unlabelled().replace(core=np.zeros(6, dtype=int))
    found = label(bare, level)
    assert found.status == "ok", found.message
    frame = type(found).model_validate_json(found.model_dump_json()).apply(bare)
    expected = evaluate(bare, "hf-minimal")
    assert frame.info["baseline"] == "hf-minimal"
    assert frame.baseline_energy == pytest.approx(expected.energy, abs=1e-8)
    np.testing.assert_allclose(frame.baseline_forces, expected.forces, atol=1e-8)
    np.testing.assert_allclose(frame.baseline_mm_forces, expected.mm_forces, atol=1e-8)
    (same,) = with_baseline([frame], "hf-minimal")
    assert same == frame


def test_training_on_another_baseline_than_that_of_the_labels_is_refused(labelled: Frames) -> None:
    frames = with_baseline(labelled, "hf-minimal")
    with pytest.raises(InputError, match="has hf-minimal"):
        train_member(frames, POTENTIAL.model_copy(update={"baseline": "gfn2-xtb"}), TRAINING, member=0, seed=1)
