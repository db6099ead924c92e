"""`Stepper`: one flat vector of parameters, moved by Adam, AdamW or CoRe.

CoRe (M. Eckhoff, M. Reiher, JCTC 2023, 19, 3509, doi:10.1021/acs.jctc.3c00279) lets the step of each parameter grow while its
gradient keeps its sign and shrink when it changes; the learning rate is the largest step. It comes from the package
``core-optimizer`` (optional extra ``core``).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from aiida_hqe.errors import ResourceError
from aiida_hqe.training.settings import TrainingSettings

_SMALLEST_STEP = 1e-6
_FIRST_STEP = 0.1
"""CoRe's first step, in units of its largest."""


class Stepper:
    """Parameters (P,) and the optimizer that moves them.

    Parameters
    ----------
    start
        Parameters to start from; not changed.
    settings
        Which optimizer, its weight decay, and the norm to which gradients are clipped.
    rate
        First learning rate.

    Raises
    ------
    ResourceError
        The optimizer's package is not installed.
    """

    def __init__(self, start: Tensor, settings: TrainingSettings, rate: float) -> None:
        self._flat = start.detach().clone().requires_grad_()
        self._clip = settings.gradient_clip
        self._adaptive = settings.optimizer == "core"
        self._optimizer = _optimizer(self._flat, settings, rate)

    @property
    def parameters(self) -> Tensor:
        """The parameters as they are now."""
        return self._flat.detach()

    def set_rate(self, rate: float) -> None:
        """Change the learning rate."""
        group = self._optimizer.param_groups[0]
        if self._adaptive:
            group["step_sizes"] = (min(_SMALLEST_STEP, rate), rate)
        else:
            group["lr"] = rate

    def step(self, gradient: Tensor) -> None:
        """Move against a gradient (P,), clipped."""
        self._flat.grad = gradient * min(1.0, self._clip / max(float(gradient.norm()), 1e-12))
        self._optimizer.step()


def _optimizer(flat: Tensor, settings: TrainingSettings, rate: float) -> Any:
    decay: dict[str, Any] = {} if settings.weight_decay is None else {"weight_decay": settings.weight_decay}
    if settings.optimizer == "adam":
        return torch.optim.Adam([flat], lr=rate)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW([flat], lr=rate, **decay)
    try:
        core: Any = import_module("core_optimizer")
    except ImportError as error:
        raise ResourceError(
            f"the optimizer core needs a package that is not installed ({error.name}): pip install 'aiida-hqe[core]', or"
            " choose training.optimizer adam or adamw"
        ) from error
    return core.CoRe([flat], lr=_FIRST_STEP * rate, step_sizes=(min(_SMALLEST_STEP, rate), rate), **decay)
