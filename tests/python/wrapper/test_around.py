"""What a user puts around or on the wrapper: hooks, torch.compile, copies, names of their own."""

from __future__ import annotations

import copy
import gc
import io
import logging
import types
import weakref
from pathlib import Path

import pytest
import torch
from launching import losses, run
from test_facade import PLAIN, batch, net
from torch import nn

from parallel_opt import OptimizedParallel

seen: list[str] = []


def forward_hook(*_: object) -> None:
    seen.append("forward")


def backward_hook(*_: object) -> None:
    seen.append("backward")


def hooked() -> OptimizedParallel:
    model = OptimizedParallel(net(), **PLAIN)
    model.register_forward_hook(forward_hook)
    model.register_full_backward_hook(backward_hook)
    return model


def calls(model: nn.Module) -> list[str]:
    seen.clear()
    model(batch()[0].requires_grad_()).sum().backward()
    return list(seen)


def test_hooks_on_the_wrapper_are_called() -> None:
    assert calls(hooked()) == ["forward", "backward"]


def test_copies_keep_the_hooks_of_the_wrapper() -> None:
    model = hooked()
    assert calls(copy.deepcopy(model)) == ["forward", "backward"]
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert calls(torch.load(buffer, weights_only=False)) == ["forward", "backward"]


def test_a_name_that_the_model_has_too_is_told(caplog: pytest.LogCaptureFixture) -> None:
    module = net()
    module.plan = "of the user"  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING, logger="parallel_opt"):
        model = OptimizedParallel(module)
    assert caplog.messages == ["the model has 'plan' too: reach it as model.module.plan"]
    assert model.plan is None and model.module.plan == "of the user"


def test_compile_in_place_runs_the_plan() -> None:
    plain, model = net(), OptimizedParallel(net(), **PLAIN)
    model.compile(backend="eager")
    x, _ = batch()
    for _ in range(2):
        torch.testing.assert_close(model(x), plain(x))
    assert model.plan is not None


def test_a_model_that_is_dropped_is_freed_and_plain_again() -> None:
    def trained() -> tuple[nn.Module, weakref.ref[torch.Tensor]]:
        model = OptimizedParallel(net(), **PLAIN)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(batch()[0]).sum().backward()
        optimizer.step()
        return model.module, weakref.ref(model.fc1.weight)

    module, weight = trained()
    gc.collect()
    assert type(module.forward) is types.MethodType  # no patch is left
    module(batch()[0]).sum().backward()
    del module
    gc.collect()
    assert weight() is None


COMPILED = """
import torch
from parallel_opt import OptimizedParallel
torch.manual_seed(0)
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}
wrapped = OptimizedParallel(torch.nn.Linear(4, 2), **pins)
model = torch.compile(wrapped, backend="eager")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    optimizer.zero_grad()
    loss = model(torch.arange(24.0).reshape(6, 4) / 24 + step / 8).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.6f}")
"""


def test_ranks_may_compile_around_the_wrapper(tmp_path: Path) -> None:
    one, two = (run(tmp_path, COMPILED, "--ranks", n) for n in "12")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    assert losses(two.stdout) == pytest.approx(losses(one.stdout), abs=2e-6)
    assert len(losses(two.stdout)) == 4
