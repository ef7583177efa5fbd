"""Recomputed blocks give the same gradients and keep less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from local_models import Mlp, Settings

from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.recompute import recompute_names


def gradients(module: Mlp, seed: int = 3) -> list[torch.Tensor]:
    module.zero_grad()
    torch.manual_seed(seed)
    x = torch.randn(6, 8)
    module(x).square().sum().backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def saved_bytes(module: Mlp) -> int:
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(torch.randn(6, 8))
    return total


@pytest.mark.parametrize("names", [["first"], ["first", "second"], [""], ["", "first"]])
def test_gradients_are_equal_with_dropout(dropout_mlp: Mlp, names: list[str]) -> None:
    expected = gradients(dropout_mlp)
    engine = LocalEngine(dropout_mlp, Settings(recompute=names))
    engine.apply()
    for a, b in zip(gradients(dropout_mlp), expected, strict=True):
        assert torch.equal(a, b)
    engine.unapply()
    assert all("forward" not in m.__dict__ for m in dropout_mlp.modules())


def test_fewer_bytes_are_saved(dropout_mlp: Mlp) -> None:
    before = saved_bytes(dropout_mlp)
    LocalEngine(dropout_mlp, Settings(recompute=[""])).apply()
    assert saved_bytes(dropout_mlp) < before


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        ("a.b", ["a.b"]),
        ({"module": "a"}, ["a"]),
        (SimpleNamespace(block="a", parts=[]), ["a"]),
        (SimpleNamespace(block="a", parts=["a.x", "a.y"]), ["a.x", "a.y"]),
    ],
)
def test_entries_name_blocks_or_parts_of_them(entry: Any, names: list[str]) -> None:
    assert recompute_names([entry, entry]) == names


class Cache:
    """As of keys and values: each block appends to it, and attends to all of it."""

    def __init__(self) -> None:
        self.layers: list[torch.Tensor] = []
        self.seen = {"blocks": 0}


class Filling(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Block(), Block()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Cache]:
        cache = Cache()
        return self.second(self.first(x, cache), cache=cache), cache


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, cache: Cache) -> torch.Tensor:
        cache.layers.append(self.linear(x).tanh())
        cache.seen["blocks"] += 1
        return (torch.stack(cache.layers).sum(0) * cache.seen["blocks"]).square()


def test_a_cache_that_blocks_fill_is_filled_once() -> None:
    torch.manual_seed(0)
    module, x = Filling(), torch.randn(3, 4)

    def run() -> tuple[list[torch.Tensor], int, int]:
        module.zero_grad()
        output, cache = module(x)
        output.square().sum().backward()
        gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        return gradients, len(cache.layers), cache.seen["blocks"]

    expected = run()
    engine = LocalEngine(module, Settings(recompute=["first", "second"]))
    engine.apply()
    found = run()
    engine.unapply()
    assert found[1:] == expected[1:] == (2, 2)
    for a, b in zip(found[0], expected[0], strict=True):
        assert torch.equal(a, b)
