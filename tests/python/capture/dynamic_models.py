"""Models whose path, sizes or number of steps depend on the data; and batches that take each."""

from __future__ import annotations

import torch
from torch import nn


class Routed(nn.Module):
    """One of two ways, by the sign of the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.small = nn.Linear(4, 4)
        self.large = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = self.stem(x)
        h = self.small(h) if float(x.mean()) > 0 else self.large(h)
        return self.head(h)


class Iterated(nn.Module):
    """As many steps as the first number says; each starts from the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(4, 4)
        self.cell = nn.Linear(4, 4)
        self.leave = nn.Linear(4, 2)

    def forward(self, x):
        h = self.enter(x)
        for _ in range(int(x[0, 0])):
            h = torch.tanh(self.cell(h))
        return self.leave(h)


class Generating(nn.Module):
    """A cache that grows by one entry in every step, until the data says stop."""

    def __init__(self) -> None:
        super().__init__()
        self.key = nn.Linear(4, 4)
        self.mix = nn.Linear(4, 4)

    def forward(self, x, steps):
        cache = self.key(x)
        for _ in range(int(steps)):
            token = self.mix(cache.mean(1, keepdim=True))
            cache = torch.cat([cache, self.key(token)], 1)
        return cache.mean(1)


class Skipping(nn.Module):
    """A block that is left out for some batches, as stochastic depth does, inside another."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Routed() for _ in range(2)])
        self.back = nn.Linear(2, 4)

    def forward(self, x):
        h = x
        for block in self.blocks:
            if float(x.abs().max()) < 10:
                h = h + self.back(block(h))
        return h


def plus(size: int = 6) -> torch.Tensor:
    return torch.full((size, 4), 0.5)


def minus(size: int = 6) -> torch.Tensor:
    return torch.full((size, 4), -0.5)


def trips(count: int) -> torch.Tensor:
    return torch.cat([torch.full((6, 1), float(count)), torch.rand(6, 3)], 1)
