"""A small layer, a small batch and exact comparison: what the engine's own tests share."""

from __future__ import annotations

import torch
from torch import nn

ENGINES = ("ddp", "late")


def linear(inputs: int = 3, outputs: int = 2) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).double()


def batch(rows: int = 6, columns: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(rows, columns, dtype=torch.float64)


def grads(*modules: nn.Module) -> list[torch.Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for m in modules for p in m.parameters()]


def same(found: list[torch.Tensor | None], expected: list[torch.Tensor | None]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
