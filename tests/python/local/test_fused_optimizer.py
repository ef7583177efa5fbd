"""Fused optimizers equal the ones they replace, switched at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from local_models import ConvNet, Mlp, Settings
from torch import nn

from parallel_opt.engine.fused_optimizer import FusedOptimizer
from parallel_opt.engine.local import LocalEngine

Make = Callable[[Any], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "adam_amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True, weight_decay=0.1),
    "adam_maximize": lambda p: torch.optim.Adam(p, lr=1e-2, maximize=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2),
    "sgd_nesterov": lambda p: torch.optim.SGD(
        p, lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, lr_decay=0.1),
}


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(4, 8, generator=generator, dtype=torch.float64)
        module(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def twins(make: Make) -> list[tuple[Mlp, torch.optim.Optimizer]]:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        module = Mlp().double()
        made.append((module, make(module.parameters())))
    return made


def noted(text: str) -> None:
    raise AssertionError(f"unexpected note: {text}")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", [0, 3])
def test_switching_mid_run_and_back_equals_never_switching(name: str, before: int) -> None:
    (plain, plain_optimizer), (module, optimizer) = twins(OPTIMIZERS[name])
    train(plain, plain_optimizer, before + 3 + 2, seed=1)

    generator_steps = [before, 3, 2]
    fused = FusedOptimizer(optimizer, noted)
    generator = torch.Generator().manual_seed(1)
    for phase, steps in enumerate(generator_steps):
        if phase == 1:
            fused.apply()
            assert fused.groups == 1
        if phase == 2:
            fused.remove()
        for _ in range(steps):
            x = torch.randn(4, 8, generator=generator, dtype=torch.float64)
            module(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    for a, b in zip(plain.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        for key, value in plain_optimizer.state[a].items():
            other = optimizer.state[b][key]
            if isinstance(value, torch.Tensor):
                assert (other.dtype, other.device) == (value.dtype, value.device)
            torch.testing.assert_close(other, value, rtol=1e-12, atol=1e-12)


def test_state_tensors_keep_their_identity(mlp: Mlp) -> None:
    optimizer = torch.optim.AdamW(mlp.parameters())
    mlp(torch.randn(2, 8)).sum().backward()
    optimizer.step()
    before = [id(s["exp_avg"]) for s in optimizer.state.values()]
    fused = FusedOptimizer(optimizer, noted)
    fused.apply()
    optimizer.step()
    assert [id(s["exp_avg"]) for s in optimizer.state.values()] == before


def test_step_counters_change_type_only_as_the_kernels_need(mlp: Mlp) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = torch.optim.AdamW(mlp.parameters())
        mlp(torch.randn(2, 8, dtype=torch.float32)).sum().backward()
        optimizer.step()
        kinds = lambda: {s["step"].dtype for s in optimizer.state.values()}  # noqa: E731
        assert kinds() == {torch.float64}
        fused = FusedOptimizer(optimizer, noted)
        fused.apply()
        assert kinds() == {torch.float32}
        fused.remove()
        assert kinds() == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_checkpoint_shows_the_users_flags_and_a_loaded_one_is_fused_again(mlp: Mlp) -> None:
    optimizer = torch.optim.AdamW(mlp.parameters())
    plain = optimizer.state_dict()["param_groups"]
    fused = FusedOptimizer(optimizer, noted)
    fused.apply()
    saved = optimizer.state_dict()
    assert saved["param_groups"] == plain
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["fused"] is True
    fused.remove()
    assert optimizer.state_dict()["param_groups"] == plain


def test_groups_that_may_not_be_fused_are_left_and_named(mlp: Mlp) -> None:
    optimizer = torch.optim.AdamW(
        [
            {"params": mlp.first.parameters()},
            {"params": mlp.second.parameters(), "foreach": False},
        ]
    )
    notes: list[str] = []
    fused = FusedOptimizer(optimizer, notes.append)
    fused.apply()
    assert [g["fused"] for g in optimizer.param_groups] == [True, None]
    assert notes == ["fused optimizer: group 1 stays as it is: the user chose foreach=False"]


def test_an_optimizer_without_fused_kernel_is_named(mlp: Mlp) -> None:
    notes: list[str] = []
    FusedOptimizer(torch.optim.RMSprop(mlp.parameters()), notes.append).apply()
    assert notes == ["fused optimizer: RMSprop has no fused kernel"]


def test_sparse_gradients_keep_the_optimizer_as_it_is() -> None:
    module = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    engine = LocalEngine(module, Settings(fused_optimizer=True), optimizers=[optimizer])
    engine.apply()
    assert engine.notes == ["fused optimizer: off: the model makes sparse gradients"]
    module(torch.tensor([1])).sum().backward()
    optimizer.step()


def test_an_optimizer_built_after_apply_is_adopted_once(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, Settings(fused_optimizer=True))
    engine.apply()
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.1)
    engine.adopt_optimizer(optimizer)
    engine.adopt_optimizer(optimizer)
    assert optimizer.param_groups[0]["fused"] is True
    engine.unapply()
    assert optimizer.param_groups[0]["fused"] is None


@pytest.mark.parametrize("before", [0, 2])
def test_channels_last_with_fused_pairs_the_right_elements(conv_net: ConvNet, before: int) -> None:
    """Fused kernels walk raw memory: gradients and state must be laid out as the weights are."""
    torch.manual_seed(0)
    plain = ConvNet().double()
    conv_net.double().load_state_dict(plain.state_dict())
    runs = []
    for module in (plain, conv_net):
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        settings = Settings(fused_optimizer=True, memory_format="channels_last")
        engine = LocalEngine(module, settings, optimizers=[optimizer])
        generator = torch.Generator().manual_seed(2)
        for step in range(before + 4):
            x = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
            module(x).square().mean().backward()
            if module is conv_net and step == before:
                engine.apply()  # with a gradient in the old layout pending
            optimizer.step()
            optimizer.zero_grad()
        runs.append(list(module.parameters()))
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
