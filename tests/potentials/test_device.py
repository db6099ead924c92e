"""A network computes where its weights are: nothing inside it is made on another device, and what is not there is said.

No GPU is needed for this. Where PyTorch makes tensors on ``meta`` unless it is told another place, a tensor that is made
without naming the device of its inputs has no numbers, and what is computed with it has none or fails.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from network_kinds import ELSEWHERE, KINDS
from potential_cases import SETTINGS, untrained
from torch import Tensor

from aiida_hqe.errors import DeviceError, InputError, error_kind
from aiida_hqe.frames import Frame
from aiida_hqe.potentials import committee as committees
from aiida_hqe.potentials import device as devices
from aiida_hqe.potentials.committee import Committee
from aiida_hqe.potentials.dense import is_dense
from aiida_hqe.potentials.settings import PotentialSettings
from aiida_hqe.potentials.stack import Stack


@pytest.fixture(params=KINDS, ids=lambda kind: " ".join(kind.values()))
def settings(request: pytest.FixtureRequest) -> PotentialSettings:
    return SETTINGS.model_copy(update=request.param)


def stack_on(committee: Committee, device: torch.device) -> Stack:
    return Stack(
        committee.members, ["environment", "target"], committee.settings, 0, committee.learn, "float32", device
    )


def seen(stack: Stack, frame: Frame) -> list[Tensor]:
    """What the networks are given of a frame."""
    surroundings = stack.surroundings(frame)
    arrays = surroundings.inputs(frame)
    if surroundings.nearby is not None:
        arrays.append(surroundings.nearby.numbers)
    return [torch.from_numpy(array) for array in arrays]


def unrecorded(stack: Stack, frame: Frame) -> Callable[..., tuple[Tensor, ...]]:
    """Energies and derivatives of all members at both levels, as a function that is run and not replayed."""
    numbers = tuple(frame.numbers.tolist())
    return stack._dense(numbers) if is_dense(stack.settings) else stack._function(numbers)


@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_energies_and_derivatives_make_nothing_on_another_device(
    settings: PotentialSettings, learn: str, frame: Frame
) -> None:
    stack = stack_on(untrained(2, learn, settings), devices.CPU)
    function, inputs = unrecorded(stack, frame), seen(stack, frame)
    expected = function(*inputs)
    with ELSEWHERE:
        found = function(*inputs)
    assert expected[0].abs().max() > 1e-3
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_all_of_a_committee_moves_to_its_device(settings: PotentialSettings, learn: str, frame: Frame) -> None:
    """A tensor left behind on the processor would be refused beside those that moved."""
    stack = stack_on(untrained(2, learn, settings), ELSEWHERE)
    found = unrecorded(stack, frame)(*(tensor.to(ELSEWHERE) for tensor in seen(stack, frame)))
    assert {tensor.device for tensor in found} == {ELSEWHERE}
    assert {tensor.device for one in stack.members[0].networks.values() for tensor in one.state.values()} == {ELSEWHERE}


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:100", "meta", "cpu:0", ""])
def test_names_of_no_device_are_bad_input(name: str) -> None:
    with pytest.raises(InputError, match="a device was expected, cpu, cuda, or cuda:1 and so on"):
        devices.find(name)


def missing(name: str) -> str:
    """The one line about a device that is not there."""
    with pytest.raises(DeviceError) as caught:
        devices.find(name)
    assert (error_kind(caught.value), caught.value.exit_code) == ("resource", 1)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_pytorch_without_cuda_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert re.search(r"PyTorch with CUDA was expected .* install one .* or choose the device cpu", missing("cuda"))


def test_a_machine_without_gpu_or_driver_is_named_with_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> bool:
        warnings.warn("CUDA initialization:\n The NVIDIA driver is too old", stacklevel=1)
        return False

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    line = missing("cuda:1")
    assert "finds none; CUDA initialization: The NVIDIA driver is too old" in line
    assert "ask the scheduler for one" in line


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two; nothing computes on them."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_beyond_the_last_is_refused() -> None:
    assert "cuda:0 to cuda:1 was expected (got cuda:2)" in missing("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_does_not_compute_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA\n")

    monkeypatch.setattr(torch, "ones", broken)
    assert "the device cuda:1 failed (" in missing("cuda:1")


REPLAYED = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript (most recent call last):
RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), RuntimeError(REPLAYED)]
)
def test_a_full_gpu_is_a_lack_of_the_machine_in_one_line(error: RuntimeError) -> None:
    wanted = r"^the device cuda failed \(.*CUDA out of memory.*\): .*batch_size.*$"
    with pytest.raises(DeviceError, match=wanted) as caught, devices.working(torch.device("cuda")):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("device", "text"), [("cuda", "shapes differ"), ("cpu", "CUDA out of memory")])
def test_other_faults_stay_what_they_are(device: str, text: str) -> None:
    with pytest.raises(RuntimeError, match=text), devices.working(torch.device(device)):
        raise RuntimeError(text)


def test_a_committees_file_does_not_tell_where_it_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = untrained(2)
    monkeypatch.setattr(committees, "find", torch.device)
    other = one.replace(device=ELSEWHERE)
    assert (other.device, other.replace(calibration={}).device, other.alone(1).device) == (ELSEWHERE,) * 3
    one.save(tmp_path / "one.safetensors")
    other.save(tmp_path / "other.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
    assert Committee.load(tmp_path / "other.safetensors").device == devices.CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU at hand")
@pytest.mark.parametrize("learn", ["difference", "direct"])
def test_a_gpu_says_what_the_processor_says(settings: PotentialSettings, learn: str, frame: Frame) -> None:
    """Forces of some eV/angstrom are sums of some thousand terms: round-off is 1e-12 in double, 1e-5 in single precision."""
    here = untrained(2, learn, settings)
    there = here.replace(device="cuda")
    one, other = here.predict(frame), there.predict(frame)
    for name in ("energies", "forces", "mm_forces", "environment_forces"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-10, atol=1e-10)
    one, other = (committee.replace(precision="float32").evaluate(frame) for committee in (here, there))
    for name in ("forces", "mm_forces", "charge_gradient"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-5, atol=1e-4)
