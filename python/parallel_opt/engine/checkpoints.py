"""Checkpoints of the user's models on several ranks.

A reentrant checkpoint starts a backward of its own inside the backward: DistributedDataParallel
takes each for a pass of its own, and what was entered around the forward is not entered again. The
other kind gives the same gradients and has neither trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import checkpoint as checkpoint_module
from torch.utils.checkpoint import checkpoint


class _NotReentrant:
    """Stands in for ``torch.utils.checkpoint.CheckpointFunction``."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        if any(isinstance(a, torch.Tensor) and a.requires_grad for a in args):
            return checkpoint(
                function, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state
            )
        with torch.no_grad():  # a reentrant one gives no gradients then
            return function(*args)


@contextmanager
def without_reentrant_checkpoints() -> Iterator[None]:
    """Within it, checkpoints with ``use_reentrant=True`` are of the other kind."""
    original = checkpoint_module.CheckpointFunction
    checkpoint_module.CheckpointFunction = _NotReentrant  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        checkpoint_module.CheckpointFunction = original  # type: ignore[misc]
