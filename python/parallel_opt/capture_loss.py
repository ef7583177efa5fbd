"""Where a backward starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from parallel_opt.capture_inputs import tensors_in

Loss = Callable[[Any], torch.Tensor]


def loss_of(output: Any, loss_fn: Loss | None) -> torch.Tensor | None:
    """The given loss of the output, the output's own ``loss``, or the sum of all outputs; None when
    no gradient flows."""
    if loss_fn is not None:
        loss = loss_fn(output)
        return loss if loss.requires_grad else None
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor) and own.requires_grad and own.numel() == 1:
        return own
    terms = [
        torch.view_as_real(t).sum() if t.is_complex() else t.sum()
        for t in tensors_in(output)
        if t.requires_grad
    ]
    return sum(terms[1:], terms[0]) if terms else None
