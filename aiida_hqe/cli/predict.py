"""``aiida-hqe predict``: energies, forces, disagreement and calibrated bounds of a committee for the frames of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_hqe.cli.device import DEVICE
from aiida_hqe.cli.limits import a_committee
from aiida_hqe.errors import IntegrityError

if TYPE_CHECKING:
    from aiida_hqe.potentials.committee import Committee
    from aiida_hqe.predictions import Prediction
    from aiida_hqe.selection.calibration import Calibration

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("committee", type=FILE)
@click.argument("frames", type=FILE)
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with forces on QM atoms and point charges.")
def predict(committee: Path, frames: Path, device: str, as_json: bool) -> None:
    """Energies and forces that COMMITTEE predicts for FRAMES (.xyz or .h5), its disagreement, and the bound of its error.

    Energies are in eV, forces, disagreement and bound in eV/angstrom.
    """
    from aiida_hqe.frames import Frames
    from aiida_hqe.potentials.committee import Committee

    loaded = Committee.load(a_committee(committee)).replace(device=device)
    batch = Frames.read(frames)
    for frame in batch:
        loaded.check(frame)
    found = [describe(loaded, prediction) for prediction in loaded.predict_batch(batch)]
    if as_json:
        click.echo("[" + ",\n".join(json.dumps(one) for one in found) + "]")
        return
    for one in found:
        bound = "no bound: not calibrated" if one["bound"] is None else f"bound {1000 * one['bound']:.1f}"
        click.echo(
            f"{one['frame'][:12]}  energy {one['energy']:.6f} eV  disagreement {1000 * one['disagreement']:.1f}"
            f" meV/angstrom  {bound}"
        )


def describe(committee: Committee, prediction: Prediction) -> dict[str, Any]:
    """The mean of the members about one frame at both levels, their disagreement, and its bound, as JSON.

    ``disagreement`` is that of the forces at the committee's force level (eV/angstrom), ``bound`` the calibrated bound of their
    error, ``None`` for a committee without calibration; ``energy_disagreement`` and ``energy_bound`` (eV) are those of the
    energy.
    """
    from aiida_hqe.selection.disagreement import energy_disagreement, force_disagreement

    calibration = _calibration(committee)
    level = committee.force_level if calibration is None else calibration.level
    prefix = "" if level == "target" else "environment_"
    forces = force_disagreement(getattr(prediction, f"{prefix}forces"), getattr(prediction, f"{prefix}mm_forces"))
    energy = energy_disagreement(prediction.energies)
    has_energy_bound = calibration is not None and calibration.energy_factor is not None
    return {
        "frame": prediction.frame,
        "energy": prediction.energy,
        "forces": prediction.mean_forces.tolist(),
        "mm_forces": prediction.mean_mm_forces.tolist(),
        "environment_energy": float(prediction.environment_energies.mean()),
        "environment_forces": prediction.environment_forces.mean(axis=0).tolist(),
        "environment_mm_forces": prediction.environment_mm_forces.mean(axis=0).tolist(),
        "disagreement": forces,
        "bound": None if calibration is None else calibration.force_bound(forces),
        "energy_disagreement": energy,
        "energy_bound": calibration.energy_bound(energy) if calibration is not None and has_energy_bound else None,
        "force_level": level,
    }


def _calibration(committee: Committee) -> Calibration | None:
    from pydantic import ValidationError

    from aiida_hqe.selection.calibration import Calibration

    try:
        return None if committee.calibration is None else Calibration.model_validate(committee.calibration)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise IntegrityError(
            f"in the committee a calibration was expected (got {key}: {first['msg']}): export it anew"
        ) from error
