"""Labels with target forces, from the label to the calibration, and composite labels along the same way."""

from __future__ import annotations

import numpy as np
import pytest
from training_cases import SHORT, SMALL

from aiida_hqe.embedding.label import label
from aiida_hqe.embedding.level import Level
from aiida_hqe.errors import InputError
from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.selection.calibration import calibrate, force_errors
from aiida_hqe.training.train import train_member

N_TRAIN, N_HELD = 16, 10


def level_of(forces: object) -> Level:
    """STO-3G and Hartree-Fock as environment: a label with forces in a quarter of a second."""
    return Level.model_validate(
        {
            "environment": {"xc": "hf", "basis": "sto-3g"},
            "core": {"method": "mp2", "density_fit": True},
            "embedding": {"core_orbitals": [5]},
            "forces": forces,
        }
    )


@pytest.fixture(scope="module")
def labelled() -> Frames:
    """Water, all of it core, bent and stretched at random next to a charge: target minus environment is MP2 correlation."""
    rng = np.random.default_rng(5)
    water = np.array([[0.0, 0.0, 0.115], [0.0, 0.754, -0.459], [0.0, -0.754, -0.459]])
    frames = []
    for _ in range(N_TRAIN + N_HELD):
        frame = Frame(
            numbers=[8, 1, 1],
            positions=water + 0.05 * rng.normal(size=(3, 3)),
            charge=0,
            spin=0,
            core=[1, 1, 1],
            mm_numbers=[11],
            mm_positions=[[0.0, 0.0, -2.8]] + 0.1 * rng.normal(size=(1, 3)),
            mm_charges=[0.6],
        )
        found = label(frame, level_of("analytic"), threads=1)
        assert found.message is None
        frames.append(found.apply(frame))
    return Frames(frames)


def committee_of(frames: Frames, members: tuple[int, ...] = (0,), **changes: object) -> Committee:
    training = SHORT.model_copy(update={"epochs": 60, "target_epochs": 60, **changes})
    return Committee.merge([train_member(frames, SMALL, training, member=member, seed=3)[0] for member in members])


@pytest.fixture(scope="module")
def with_forces(labelled: Frames) -> Committee:
    """Committee of the default kind, difference, that learned from target energies and forces."""
    return committee_of(Frames(labelled[:N_TRAIN]), members=(0, 1))


def target_force_error(committee: Committee, frames: Frames) -> float:
    """Of the mean difference of forces, target minus environment (eV/angstrom)."""
    errors = []
    for frame in frames:
        found = committee.predict(frame)
        difference = (found.forces - found.environment_forces).mean(axis=0)
        errors.append(difference - (frame.forces - frame.environment_forces))
    return float(np.sqrt(np.mean(np.square(errors))))


@pytest.mark.parametrize(
    "learn", ["difference", *(pytest.param(x, marks=pytest.mark.slow) for x in ("transfer", "direct"))]
)
def test_labels_with_target_forces_are_learned_predicted_and_calibrated_at_the_target(
    labelled: Frames, with_forces: Committee, learn: str
) -> None:
    train, held = Frames(labelled[:N_TRAIN]), Frames(labelled[N_TRAIN:])
    committee = with_forces if learn == "difference" else committee_of(train, (0, 1), learn=learn)
    assert committee.force_level == "target"
    predictions = [committee.predict(frame) for frame in held]
    calibration = calibrate(held, predictions, 0.9)
    assert (calibration.level, calibration.energy_level, calibration.force_method) == ("target", "target", None)
    zero = np.sqrt(np.mean([(frame.forces**2).sum() + (frame.mm_forces**2).sum() for frame in held]) / 3)
    assert calibration.force_error < 0.7 * zero
    assert calibration.force_bound(1.0) == pytest.approx(calibration.force_factor)
    assert committee.evaluate(held[0]).disagreement == pytest.approx(calibration.disagreements[0], rel=1e-5)


@pytest.mark.slow
def test_target_forces_lower_the_error_of_the_difference_of_forces(labelled: Frames) -> None:
    train, held = Frames(labelled[:N_TRAIN]), Frames(labelled[N_TRAIN:])
    blind = Frames(frame.replace(forces=None, mm_forces=None) for frame in train)
    with_forces, without = (committee_of(each, (0, 1), epochs=150) for each in (train, blind))
    assert without.force_level == "environment"
    assert target_force_error(with_forces, held) < 0.7 * target_force_error(without, held)


def test_weights_of_the_target_say_what_counts_there(labelled: Frames, with_forces: Committee) -> None:
    """With no weight on target forces they teach nothing; the environment level does not notice."""
    train, held = Frames(labelled[:N_TRAIN]), Frames(labelled[N_TRAIN:])
    ignored = committee_of(train, target_weight_forces=0.0, target_weight_mm_forces=0.0)
    assert target_force_error(ignored, held) > target_force_error(with_forces, held)
    one, other = (committee.predict(held[0]).environment_forces[0] for committee in (with_forces, ignored))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_a_composite_label_is_named_in_member_and_calibration_and_not_mixed_with_others(
    labelled: Frames, with_forces: Committee
) -> None:
    marked = Frames(frame.replace(info={**frame.info, "force_method": "mp2"}) for frame in labelled)
    committee = committee_of(Frames(marked[:N_TRAIN]), epochs=2)
    assert committee.members[0].summary["force_method"] == "mp2"
    held = Frames(marked[N_TRAIN:])
    predictions = [with_forces.predict(frame) for frame in held]
    assert calibrate(held, predictions, 0.9).force_method == "mp2"
    with pytest.raises(InputError, match="one method"):
        committee_of(Frames([*marked[:8], *labelled[8:16]]))
    with pytest.raises(InputError, match="one method"):
        calibrate(Frames([*held[:5], *labelled[N_TRAIN + 5 :]]), predictions, 0.8)


def test_a_training_set_where_some_frames_lack_target_forces_is_refused_by_name(labelled: Frames) -> None:
    without = labelled[3].replace(forces=None, mm_forces=None)
    with pytest.raises(InputError, match=rf"15 of 16 frames have forces; frame {without.hash[:12]}"):
        committee_of(Frames([*labelled[:3], without, *labelled[4:N_TRAIN]]))


def test_a_label_without_target_forces_has_no_error_at_the_target(labelled: Frames, with_forces: Committee) -> None:
    without = labelled[-1].replace(forces=None, mm_forces=None)
    with pytest.raises(InputError, match="target forces on QM atoms and charges were expected"):
        force_errors([without], [with_forces.predict(without)], "target")
