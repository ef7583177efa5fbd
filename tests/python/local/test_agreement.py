"""How far plain PyTorch's own rounding lets a plan differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import parallel_opt.trial as trial_module
from parallel_opt.agreement import exact_products, relative_difference, rounds_to_tf32
from parallel_opt.outcome import core_trial
from parallel_opt.trial import run_trials


def test_settings_of_products_stand_again_after_exact_ones() -> None:
    cudnn: Any = torch.backends.cudnn
    matmul, conv = torch.backends.cuda.matmul, cudnn.conv
    before = matmul.fp32_precision, conv.fp32_precision
    with exact_products():
        assert (matmul.fp32_precision, conv.fp32_precision) == ("ieee", "ieee")
    assert (matmul.fp32_precision, conv.fp32_precision) == before


def test_a_cpu_rounds_no_products() -> None:
    assert not rounds_to_tf32(torch.device("cpu"))


def test_difference_is_relative_to_the_largest_value() -> None:
    a = torch.tensor([4.0, -1.0])
    assert relative_difference(a, a + torch.tensor([0.0, 0.5])) == 0.125  # 0.5 / 4
    assert relative_difference(a, a[:1]) == float("inf")


def test_plains_own_rounding_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here bf16 stands for TF32 and the CPU's fp32 for exact products, the other way round."""

    @contextmanager
    def coarse() -> Iterator[None]:
        with torch.autocast("cpu", torch.bfloat16):
            yield

    monkeypatch.setattr(trial_module, "rounds_to_tf32", lambda _device: True)
    monkeypatch.setattr(trial_module, "exact_products", coarse)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8))
    plain, *_ = run_trials(model, (torch.randn(4, 32),), {}, [], budget_s=5, backend="eager")
    assert plain.rounding is not None
    assert 1e-4 < plain.rounding < 5e-2
    assert json.loads(core_trial(plain).to_json())["rounding"] == plain.rounding
