"""What a committee costs in ML/MM dynamics, beside SchNetPack's own calculators and trainer, and beside MACE.

Printed, never asserted. CPU time of one thread; the competitors take turns, so that a busy machine slows all of them alike;
median of the turns, and the smallest and largest in brackets. `MACE_PYTHON=/path/to/a/python/with/mace-torch` adds MACE.
`HQE_DEVICE=cuda` lets our own networks compute on a GPU; times are then wall times. `speed/potentials.md` holds the last run.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from aiida_hqe.frames import Frame, Frames
from aiida_hqe.potentials.calculator import CommitteeCalculator
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.member import Member, Network
from aiida_hqe.potentials.model import build
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import look

pytestmark = pytest.mark.slow

SETTINGS = PotentialSettings(features=64, interactions=3, radial_functions=20, cutoff="5 angstrom")
BLIND = SETTINGS.model_copy(update={"environment": "blind"})
DEVICE = os.environ.get("HQE_DEVICE", "cpu")
CLOCK = time.process_time if DEVICE == "cpu" else time.perf_counter
TURNS, CALLS = 7, 8
NOTHING: dict[str, Any] = {"mm_numbers": [], "mm_positions": np.zeros((0, 3)), "mm_charges": []}


def hexanol() -> Atoms:
    """1-hexanol, 21 atoms, stretched out."""
    heavy = np.array([[1.26 * k, 0.0, 0.44 * (-1) ** k] for k in range(7)])
    hydrogens = [heavy[k] + 1.09 * np.array([0.0, y, 0.577 * (-1) ** k]) for k in range(6) for y in (0.816, -0.816)]
    ends = [heavy[0] + 1.09 * np.array([-0.816, 0.0, -0.577]), heavy[6] + 0.97 * np.array([0.816, 0.0, -0.577])]
    return Atoms("C6OH14", np.concatenate([heavy, hydrogens, ends]))


def in_water(atoms: Atoms, waters: int) -> Frame:
    """The molecule among this many TIP3P waters, in disorder."""
    generator, grid = np.random.default_rng(1), 3.1 * np.stack(np.meshgrid(*[np.arange(-14, 15)] * 3), -1)
    places = grid.reshape(-1, 3) + atoms.positions.mean(axis=0)
    distances = np.linalg.norm(places[:, None] - atoms.positions, axis=-1).min(axis=1)
    oxygens = places[np.argsort(np.where(distances > 3.0, distances, np.inf))[:waters]]
    bonds = generator.normal(size=(waters, 2, 3))
    bonds *= 0.96 / np.linalg.norm(bonds, axis=-1, keepdims=True)
    sites = np.concatenate([oxygens[:, None], oxygens[:, None] + bonds], axis=1).reshape(-1, 3)
    charges, numbers = np.tile([-0.834, 0.417, 0.417], waters), np.tile([8, 1, 1], waters)
    return Frame(
        numbers=atoms.numbers,
        positions=atoms.positions,
        charge=0,
        spin=0,
        mm_numbers=numbers,
        mm_positions=sites,
        mm_charges=charges,
    )


def untrained(settings: PotentialSettings) -> Committee:
    """Four members with random weights, in the precision of dynamics, on `DEVICE`."""
    references = {1: -10.0, 6: -1000.0, 8: -2000.0}
    states = [build(settings, 0, seed=k).state_dict() for k in range(4)]
    members = [Member(k, 1, {"environment": Network(state, references, True)}) for k, state in enumerate(states)]
    whole = Committee(members, settings=settings, learn="direct", elements=[1, 6, 8], charge=0, spin=0)
    return whole.replace(precision="float32", device=DEVICE)


def take_turns(works: dict[str, Callable[[], object]], calls: int = CALLS) -> dict[str, float]:
    """Median CPU time (ms) per call of each; printed with the extremes."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS + 1):
        for name, work in works.items():
            start = CLOCK()
            for _ in range(calls):
                work()
            if turn:
                found[name].append(1e3 * (CLOCK() - start) / calls)
    for name, values in found.items():
        print(f"{name:62} {np.median(values):8.2f} ms ({min(values):.2f} to {max(values):.2f})")
    return {name: float(np.median(values)) for name, values in found.items()}


def schnetpack_model(seed: int) -> torch.nn.Module:
    """SchNetPack's own PaiNN of the same size; it sees no charges."""
    import schnetpack as spk

    torch.manual_seed(seed)
    basis, cutoff = spk.nn.GaussianRBF(SETTINGS.radial_functions, SETTINGS.cutoff), spk.nn.CosineCutoff(SETTINGS.cutoff)
    return spk.model.NeuralNetworkPotential(
        representation=spk.representation.PaiNN(SETTINGS.features, SETTINGS.interactions, basis, cutoff),
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(SETTINGS.features, output_key="energy"), spk.atomistic.Forces()],
    )


def schnetpack_calculators(folder: Path) -> list[Any]:
    """Four models, each in SchNetPack's own ASE calculator, in single precision as by its default."""
    import schnetpack.transform
    from schnetpack.interfaces.ase_interface import SpkCalculator

    made = []
    for seed in range(4):
        torch.save(schnetpack_model(seed), folder / f"{seed}.pt")
        neighbors = schnetpack.transform.ASENeighborList(cutoff=SETTINGS.cutoff)
        made.append(SpkCalculator(str(folder / f"{seed}.pt"), neighbors, energy_unit="eV"))
    return made


def loop(calculators: list[Any], atoms: Atoms) -> Callable[[], object]:
    """A step with all calculators, one after the other, and the mean of their forces."""
    generator = np.random.default_rng(0)

    def step() -> object:
        positions, forces = atoms.positions + generator.normal(0.0, 1e-3, (len(atoms), 3)), []
        for calculator in calculators:
            copy = Atoms(atoms.numbers, positions, calculator=calculator)
            copy.get_potential_energy()
            forces.append(copy.get_forces())
        return np.mean(forces, axis=0)

    return step


def asked_now_and_then(one: Committee, whole: Committee, frame: Frame, interval: int) -> Callable[[], object]:
    """Steps of one interval of `sampling.committee_interval`: one member drives each, the committee is asked once."""

    def steps() -> object:
        for _ in range(interval):
            one.evaluate(frame)
        return whole.evaluate(frame)

    return steps


def test_one_member_drives_and_the_committee_is_asked_now_and_then() -> None:
    frame, whole = in_water(hexanol(), 500), untrained(SETTINGS)
    one, own = (
        whole.alone(0),
        [CommitteeCalculator(whole.alone(k), frame.mm_positions, frame.mm_charges) for k in range(4)],
    )
    print("\nper interval; the rival per step")
    found = take_turns(
        {f"interval {n}": asked_now_and_then(one, whole, frame, n) for n in (1, 5, 10)}
        | {"rival: own members, one ASE calculator each": loop(own, hexanol())},
        calls=2,
    )
    rival = found.popitem()[1]
    for name, milliseconds in found.items():
        step = milliseconds / int(name.split()[1])
        print(f"{name}: {step:.2f} ms a step, 1/{rival / step:.1f} of the rival")


def test_a_step_of_a_committee_of_four(tmp_path: Path) -> None:
    atoms = hexanol()
    frame, whole, blind = in_water(atoms, 500), untrained(SETTINGS), untrained(BLIND)
    double, one, bare = whole.replace(precision="float64"), whole.alone(0), frame.replace(**NOTHING)
    own = [CommitteeCalculator(whole.alone(k), frame.mm_positions, frame.mm_charges) for k in range(4)]
    print(f"\n{frame.n_qm} QM atoms, {frame.n_mm} charges, PaiNN of 64 features and 3 interactions")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = take_turns(
            {
                "four members, charges, single precision": lambda: whole.evaluate(frame),
                "four members, charges, double precision": lambda: double.evaluate(frame),
                "one member, charges, single precision": lambda: one.evaluate(frame),
                "four members, no charges there": lambda: whole.evaluate(bare),
                "four blind members, no charges there": lambda: blind.evaluate(bare),
                "rival: own members, one ASE calculator each": loop(own, atoms),
                "rival: SchNetPack's calculators, which see no charges": loop(schnetpack_calculators(tmp_path), atoms),
            }
        )
    step, without = found["four members, charges, single precision"], found["four blind members, no charges there"]
    for name, milliseconds in found.items():
        if name.startswith("rival"):
            print(f"step / {name}: 1/{milliseconds / step:.1f}")
    print(f"all that sees charges, of the blind committee's time: {100 * (step - without) / without:.0f} %")
    print(f"the charges themselves: {100 * (step - found['four members, no charges there']) / without:.0f} %")


def test_growth_with_the_number_of_charges() -> None:
    atoms, whole = hexanol(), untrained(SETTINGS)
    frames = {n: in_water(atoms, n // 3) for n in (300, 1500, 3000, 6000)}
    print()
    take_turns(
        {f"four members, {n} charges": lambda frame=frame: whole.evaluate(frame) for n, frame in frames.items()}
        | {f"what is seen of {n} charges": lambda f=frame: look(f, SETTINGS) for n, frame in frames.items()}
    )


def test_beside_mace() -> None:
    python = os.environ.get("MACE_PYTHON")
    if python is None:
        pytest.skip("MACE_PYTHON names no python with mace-torch")
    atoms, whole = hexanol(), untrained(SETTINGS)
    frame = in_water(atoms, 500)
    bare, one = frame.replace(**NOTHING), whole.alone(0)
    asked = json.dumps({"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist()})
    script = Path(__file__).parent / "speed" / "run_mace.py"
    ended = subprocess.run([python, script], input=asked, capture_output=True, text=True, check=True)
    print(f"\nMACE: {ended.stdout.splitlines()[-1]}")
    take_turns(
        {
            "one member, no charges": lambda: one.evaluate(bare),
            "four members, no charges": lambda: whole.evaluate(bare),
            "four members, 1500 charges": lambda: whole.evaluate(frame),
        }
    )


def labelled(count: int) -> Frames:
    """Isolated hexanol, distorted, with energies and forces of springs: what is learned does not matter here."""
    atoms, generator = hexanol(), np.random.default_rng(2)
    found = []
    for _ in range(count):
        shifts = generator.normal(0.0, 0.05, (len(atoms), 3))
        frame = Frame(numbers=atoms.numbers, positions=atoms.positions + shifts, charge=0, spin=0, **NOTHING)
        labels = {"environment_energy": float(5.0 * (shifts**2).sum()), "environment_forces": -10.0 * shifts}
        found.append(frame.replace(**labels, environment_mm_forces=np.zeros((0, 3))))
    return Frames(found)


def test_training_beside_schnetpacks_trainer(tmp_path: Path) -> None:
    frames, size = labelled(44), 10
    warnings.simplefilter("ignore")
    print()
    for _ in range(4):
        own, theirs = own_training(frames, size), schnetpack_training(frames, size, tmp_path)
        print(
            f"batches of {size}: own {own:.1f}, SchNetPack's {theirs:.1f} frames per CPU second, {100 * own / theirs:.0f} %"
        )


def own_training(frames: Frames, size: int) -> float:
    """Frames per CPU second of descent, from trainings of two lengths after one that records the graph."""
    from aiida_hqe.training.settings import TrainingSettings
    from aiida_hqe.training.train import train_member

    seconds = []
    for epochs in (1, 1, 4):
        settings = TrainingSettings(epochs=epochs, batch_size=size, members=4)
        start = CLOCK()
        train_member(frames, BLIND, settings, member=0, seed=1, device=DEVICE)
        seconds.append(CLOCK() - start)
    return 3 * 40 / (seconds[2] - seconds[1])


def schnetpack_training(frames: Frames, size: int, folder: Path) -> float:
    """The same with `AtomisticTask` and lightning's Trainer; neighbours found once, beforehand."""
    import logging

    import pytorch_lightning
    import schnetpack as spk
    import schnetpack.transform
    from schnetpack.data.loader import _atoms_collate_fn

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    convert = spk.interfaces.AtomsConverter(schnetpack.transform.ASENeighborList(cutoff=SETTINGS.cutoff))
    rows = []
    for frame in frames:
        row = {k: v for k, v in convert(Atoms(frame.numbers, frame.positions)).items() if k != "_idx_m"}
        row |= {"energy": torch.tensor([frame.environment_energy]).float()}
        rows.append(row | {"forces": torch.tensor(np.array(frame.environment_forces)).float()})
    loader = torch.utils.data.DataLoader(rows[:40], batch_size=size, shuffle=True, collate_fn=_atoms_collate_fn)
    outputs = [
        spk.task.ModelOutput("energy", loss_fn=torch.nn.MSELoss(), loss_weight=0.01, metrics={}),
        spk.task.ModelOutput("forces", loss_fn=torch.nn.MSELoss(), loss_weight=0.99, metrics={}),
    ]
    seconds = []
    for epochs in (1, 4):
        task = spk.task.AtomisticTask(schnetpack_model(0), outputs, torch.optim.AdamW, {"lr": 5e-4})
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pytorch_lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=folder, enable_model_summary=False, **quiet
        )
        start = CLOCK()
        with contextlib.redirect_stdout(None):
            trainer.fit(task, train_dataloaders=loader)
        seconds.append(CLOCK() - start)
    return 3 * 40 / (seconds[1] - seconds[0])
