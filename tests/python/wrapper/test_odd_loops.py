"""Loops that begin otherwise than most: frozen, with borrowed parameters, with what cannot run."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from launching import losses, run
from torch import nn
from torch.func import functional_call

from parallel_opt import InputError, OptimizedParallel

PINS = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def test_a_model_that_is_frozen_at_its_first_forward_is_planned_later() -> None:
    """A discriminator in the generator's step."""
    model = OptimizedParallel(linear().requires_grad_(False), **PINS)
    x = torch.ones(3, 4, requires_grad=True)
    model(x).sum().backward()
    assert model.plan is None
    assert x.grad is not None
    model.requires_grad_(True)
    model(x).sum().backward()
    assert model.plan is not None


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_functional_call_runs_with_the_parameters_it_is_given(micro_batch: int | None) -> None:
    plain, x = linear(), torch.arange(12.0).view(3, 4)
    model = OptimizedParallel(copy.deepcopy(plain), micro_batch=micro_batch, **PINS)
    for planned in (False, True):
        assert (model.plan is not None) == planned
        for each in (plain, model):
            each.zero_grad()
            halves = {name: 0.5 * p for name, p in each.named_parameters()}
            functional_call(each, halves, (x,)).square().sum().backward()
        torch.testing.assert_close(model.weight.grad, plain.weight.grad)
        model(x)


def test_a_script_module_is_refused() -> None:
    text = (
        "OptimizedParallel(model): the model is a ScriptModule, which cannot be planned "
        "(pass the module that it was made of)"
    )
    for scripted in (torch.jit.script(linear()), torch.jit.trace(linear(), torch.ones(1, 4))):
        with pytest.raises(InputError) as error:
            OptimizedParallel(scripted)
        assert str(error.value) == text


SCRIPT = """
import torch, torch.nn as nn, torch.nn.functional as F
from torch.func import functional_call
from parallel_opt import OptimizedParallel
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}

class Picky(nn.Linear):
    def forward(self, x):
        if x.shape[0] == 5:
            raise ValueError("no fives")
        return super().forward(x)

def train(name, model, forward, sizes):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    torch.manual_seed(1)
    for step, rows in enumerate(sizes):
        x = torch.randn(rows, 6)
        optimizer.zero_grad()
        try:
            loss = forward(model, x)
        except ValueError as error:
            print(name, "skips a batch:", error)
            continue
        loss.backward()
        optimizer.step()
        print(f"step {step} loss {loss.item():.12f}")

def both(model, x):
    halves = {name: 0.5 * value for name, value in model.named_parameters()}
    return (functional_call(model, halves, (x,)) + model(x)).square().mean()

square = lambda model, x: model(x).square().mean()
train("picky", OptimizedParallel(Picky(6, 3), **pins), square, (5, 8, 8, 5, 8))
norm = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)))
train("norm", OptimizedParallel(norm, **pins), lambda m, x: m(x).exp().mean(), (8, 8, 7))
trunk = nn.Linear(6, 4)
heads = nn.ModuleList(
    OptimizedParallel(nn.Sequential(trunk, nn.Linear(4, 2)), **pins) for _ in range(2)
)
train("shared", heads, lambda m, x: square(m[0], x) + square(m[1], x), (8, 7))
model = OptimizedParallel(nn.Linear(6, 3), **pins)
train("borrowed", model, square, (8,))
train("borrowed", model, both, (8, 7))
"""


def test_ranks_begin_otherwise_as_one_process_does(tmp_path: Path) -> None:
    one, two = (run(tmp_path, SCRIPT, "--ranks", ranks) for ranks in "12")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert one.stdout.count("skips a batch: no fives") == 2
    assert two.stdout.count("skips a batch: no fives") == 2
    assert len(losses(one.stdout)) == 11  # 3 + 3 + 2 + 1 + 2
    assert losses(two.stdout) == pytest.approx(losses(one.stdout), rel=1e-10)
