"""Every kind of network there is, and a device that has no numbers."""

from __future__ import annotations

import itertools

import torch

ELSEWHERE = torch.device("meta")
KINDS = [
    {"representation": representation, "environment": environment}
    for representation, environment in itertools.product(
        ("painn", "fieldschnet", "so3net"), ("potential-field", "mm-elements", "blind")
    )
]
