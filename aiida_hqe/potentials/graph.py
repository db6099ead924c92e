"""Graphs: a function of tensors, its derivatives included, recorded once as plain tensor operations and replayed.

For a network of a few atoms nearly all time goes into bookkeeping (Python, autograd), not arithmetic. A graph has neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., tuple[Tensor, ...]]


class _Replay(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.function(*arguments))


def record(function: Function, arguments: Sequence[Tensor], *, frozen: bool = False) -> Function:
    """Record what `function` does with `arguments`; the result takes tensors of the same shapes and types.

    `frozen` works out beforehand what follows from the function's own constants alone, such as its weights.
    The function may differentiate inside itself (`torch.autograd.grad` or `torch.func`); its branches must not depend on
    values of tensors.
    """
    graph = make_fx(function)(*arguments)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # constants of the graph are meant to be constant
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.11 and newer: TorchScript is developed no further
        traced = torch.jit.trace(_Replay(graph).eval(), tuple(arguments), check_trace=False)
        replay: Function = torch.jit.freeze(traced) if frozen else traced
    return replay
