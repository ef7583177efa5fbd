"""``nn.SyncBatchNorm`` in a wrapped model: the engine itself normalises over all ranks.

Torch's own would refuse CPUs as soon as a process group exists, and its collectives would run
beside the engine's.
"""

from __future__ import annotations

import copy
import functools
import weakref
from typing import Any

import torch
from torch import nn

_wrapped: weakref.WeakSet[nn.SyncBatchNorm] = weakref.WeakSet()


def normalise_by_engine(module: nn.Module) -> None:
    """From now on the ``SyncBatchNorm`` parts of ``module`` compute as ``BatchNorm`` ones."""
    found = [part for part in module.modules() if isinstance(part, nn.SyncBatchNorm)]
    _wrapped.update(found)
    original = nn.SyncBatchNorm.forward
    if not found or hasattr(original, "_parallel_opt"):
        return

    @functools.wraps(original)
    def forward(self: nn.SyncBatchNorm, x: torch.Tensor) -> torch.Tensor:
        by: Any = nn.modules.batchnorm._BatchNorm.forward if self in _wrapped else original
        result: torch.Tensor = by(self, x)
        return result

    forward._parallel_opt = True  # type: ignore[attr-defined]
    nn.SyncBatchNorm.forward = forward  # type: ignore[method-assign, assignment]


def normalised_by_engine(module: nn.Module) -> nn.Module:
    """The module for a ``DistributedDataParallel``, which refuses such parts on a CPU: itself, or
    its parameters in the same order without them."""
    parts = list(module.modules())
    if not any(isinstance(part, nn.SyncBatchNorm) for part in parts):
        return module
    return nn.ModuleList(_alone(part) for part in parts)


def _alone(part: nn.Module) -> nn.Module:
    if isinstance(part, nn.SyncBatchNorm):
        return nn.ParameterList(part.parameters())
    alone = copy.copy(part)
    alone._modules = {}
    return alone
