"""Devices: where networks compute. A network's tensors follow its weights; all else stays on the processor, in NumPy."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator

import torch

from aiida_hqe.errors import DeviceError, InputError
from aiida_hqe.potentials.settings import DEVICE

CPU = torch.device("cpu")

_MARKS = ("CUDA", "CUBLAS", "CUSOLVER", "NVIDIA", "nvrtc")
"""One of them is in every message of torch about what a GPU failed at."""


def find(name: str | torch.device) -> torch.device:
    """The device called ``cpu``, ``cuda``, or ``cuda:1`` and so on, which is there and computes.

    Raises
    ------
    InputError
        It is no such name.
    DeviceError
        This PyTorch knows no CUDA, there is no such GPU, or it does not compute.
    """
    name = str(name)
    if not re.fullmatch(DEVICE, name):
        raise InputError(f"a device was expected, cpu, cuda, or cuda:1 and so on (got {name!r}): choose one of them")
    device = torch.device(name)
    if device == CPU:
        return device
    if not torch.backends.cuda.is_built():
        raise DeviceError(
            f"a PyTorch with CUDA was expected for the device {name} (got {torch.__version__}, which has none): install one"
            " (https://pytorch.org/get-started), or choose the device cpu"
        )
    count, reason = _count()
    if count == 0:
        raise DeviceError(
            f"a GPU was expected for the device {name} (PyTorch finds none{reason}): ask the scheduler for one, see to its"
            " driver, or choose the device cpu"
        )
    if device.index is not None and device.index >= count:
        raise DeviceError(f"one of the GPUs cuda:0 to cuda:{count - 1} was expected (got {name}): choose one of them")
    with working(device):
        torch.ones(2, device=device).sum().item()
    return device


def describe(device: torch.device) -> str:
    """The device in words: its name, and of a GPU its kind."""
    return str(device) if device == CPU else f"{device} ({torch.cuda.get_device_name(device)})"


@contextlib.contextmanager
def working(device: torch.device) -> Iterator[None]:
    """What a GPU fails at inside, out of memory say, is a `DeviceError`; torch raises all of it as `RuntimeError`."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if any(mark in line for mark in _MARKS)]
        if device == CPU or not lines:
            raise
        remedy = "choose the device cpu, or a GPU that works"
        if "out of memory" in lines[-1]:
            remedy = "choose a smaller training.batch_size, a GPU with more free memory, or the device cpu"
        raise DeviceError(f"the device {device} failed ({lines[-1].rstrip('.')}): {remedy}") from error


def _count() -> tuple[int, str]:
    """Number of GPUs, and why there is none, as far as torch says so in a warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, "".join(f"; {' '.join(str(one.message).split())}" for one in said[:1])
