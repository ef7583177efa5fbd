"""The predicted peak of a step against every allocation and release of torch's CPU allocator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from parallel_opt import OptimizedParallel
from parallel_opt.measure import resident_bytes, transient_peak_bytes

PLAIN: dict[str, Any] = {
    "compile": False,
    "precision": "fp32",
    "fused_optimizer": False,
    "attention": "fused",
    "memory_format": "contiguous",
    "recompute": "none",
    "verify": False,
}


class Normed(nn.Module):
    """x + inner(norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU())
        self.last = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.last(self.inner(self.norm(x)))
        return out


class Joined(nn.Module):
    """Rows of tables, joined: their gradients are views of the whole's."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(50, 16) for _ in range(8))
        self.head = nn.Linear(8 * 16, 4)

    def forward(self, index: Tensor) -> Tensor:
        rows = [table(index[:, i]) for i, table in enumerate(self.tables)]
        out: Tensor = self.head(torch.cat(rows, 1))
        return out


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 10),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "layers": (
        lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)),
        lambda: torch.randn(128, 64),
    ),
    "blocks": (
        lambda: nn.Sequential(*(Normed(32) for _ in range(6)), nn.Linear(32, 8)),
        lambda: torch.randn(64, 16, 32),
    ),
    "images": (images, lambda: torch.randn(16, 3, 16, 16)),
    "joined": (Joined, lambda: torch.randint(50, (512, 8))),
}


@pytest.mark.parametrize("name", CASES)
def test_peak_of_a_step_is_what_the_allocator_held(name: str) -> None:
    torch.manual_seed(0)
    module, batch = CASES[name][0](), CASES[name][1]()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)
    model = OptimizedParallel(module, probe_budget_s=0, micro_batch=len(batch), **PLAIN)

    def step() -> None:
        out = model(batch)
        loss = functional.mse_loss(out, torch.zeros_like(out))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):
        step()
    held = resident_bytes(module, [optimizer]) + batch.nbytes + transient_peak_bytes(step)
    assert model.estimate().peak_memory_bytes.value == pytest.approx(held, rel=0.03)
