"""Hooks inside a model run as in plain PyTorch, whatever the plan does with the forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from local_models import Mlp, Settings
from torch import nn
from torch.nn.modules import module as every_module
from torch.nn.utils import prune

from parallel_opt.capture import capture
from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.user_hooks import hooked_part

ALL_KINDS = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
]


def started(module: nn.Module, settings: Settings) -> LocalEngine:
    engine = LocalEngine(module, settings, backend="eager")
    engine.apply()
    return engine


def gradients_of(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    module.zero_grad()
    module(x).square().sum().backward()
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


def test_a_hook_that_comes_later_is_called_and_compiled_code_comes_back_after_it(mlp: Mlp) -> None:
    x, calls = torch.randn(4, 8), []
    engine = started(mlp, Settings(compile=True))
    before = mlp(x)
    handle = mlp.second.register_forward_hook(lambda m, args, out: calls.append(m) or 2 * out)
    assert torch.equal(mlp(x), 2 * before)
    assert torch.equal(mlp(x), 2 * before)
    handle.remove()
    assert torch.equal(mlp(x), before)
    assert calls == [mlp.second, mlp.second]
    assert engine.compiled is not None
    assert engine.compiled.graphs == 1
    assert engine.notes == ["compile: eager while second has hooks, so that they are called"]


@pytest.mark.parametrize("register", ALL_KINDS)
def test_hooks_of_every_kind_run_once_per_step(mlp: Mlp, register: str) -> None:
    calls: list[Any] = []
    getattr(mlp.first, register)(lambda *args: calls.append(args[0]))
    started(mlp, Settings(compile=True))
    for _ in range(3):
        gradients_of(mlp, torch.randn(4, 8))
    assert calls == [mlp.first] * 3


def test_hooks_on_all_modules_at_once_are_seen(mlp: Mlp) -> None:
    calls: list[Any] = []
    engine = started(mlp, Settings(compile=True))
    handle = every_module.register_module_forward_hook(lambda m, a, o: calls.append(m))
    try:
        mlp(torch.randn(4, 8))
    finally:
        handle.remove()
    assert calls == [mlp.first, mlp.drop, mlp.second, mlp]
    assert engine.notes == ["compile: eager while every module has hooks, so that they are called"]


def test_hooks_of_the_model_itself_run_around_compiled_code(mlp: Mlp) -> None:
    engine, calls = started(mlp, Settings(compile=True)), []
    mlp.register_forward_hook(lambda m, a, o: calls.append(m))
    mlp(torch.randn(4, 8))
    assert calls == [mlp]
    assert engine.notes == []


def test_torchs_own_hooks_and_classes_derived_from_them_are_no_users() -> None:
    class Mine(prune.L1Unstructured):
        pass

    model = nn.Sequential(
        nn.utils.spectral_norm(nn.Linear(4, 4)), nn.utils.weight_norm(nn.Linear(4, 4))
    )
    Mine.apply(model[0], "bias", amount=1)
    assert hooked_part(model) is None
    model[1].register_forward_pre_hook(lambda m, a: None)
    assert hooked_part(model) == "1"


@pytest.mark.parametrize("settings", [Settings(compile=True), Settings(micro_batches=2)])
def test_hooks_on_parameters_get_the_whole_gradient_once(mlp: Mlp, settings: Settings) -> None:
    x = torch.randn(4, 8)
    seen: list[torch.Tensor] = []
    ready: list[torch.Tensor] = []
    plain = gradients_of(mlp, x)
    mlp.first.weight.register_hook(lambda grad: seen.append(grad) or 2 * grad)
    mlp.first.weight.register_post_accumulate_grad_hook(lambda p: ready.append(p.grad))
    started(mlp, settings)
    found = gradients_of(mlp, x)
    assert len(seen) == len(ready) == 1
    torch.testing.assert_close(seen[0], plain[0])
    torch.testing.assert_close(found[0], 2 * plain[0])
    torch.testing.assert_close(found[1:], plain[1:])


def test_hooks_see_the_whole_batch(mlp: Mlp) -> None:
    features: list[torch.Tensor] = []
    mlp.first.register_forward_hook(lambda m, a, out: features.append(out))
    engine = started(mlp, Settings(micro_batches=2))
    mlp(torch.randn(4, 8)).sum().backward()
    assert [f.shape for f in features] == [(4, 16)]
    assert features[0].requires_grad
    assert engine.notes == ["micro-batches: off: hooks may keep or change values of the batch"]


@pytest.mark.parametrize("level", ["export", "trace", "step", "joint", "fragments"])
def test_capture_calls_torchs_hooks_only(level: str) -> None:
    calls: list[Any] = []
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.ReLU())
    for register in ALL_KINDS:
        getattr(model[0], register)(lambda *args: calls.append(args))
    model[0].bias.register_hook(calls.append)
    graph = capture(model, (torch.randn(2, 4),), level=level)
    assert calls == []
    assert any("norm" in op.target for op in graph.ops)
    model(torch.randn(2, 4)).sum().backward()
    assert len(calls) == 5
