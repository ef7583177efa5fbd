"""What a run leaves behind: every model of the script, memory over time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from parallel_opt import OptimizedParallel

PINS = {"compile": False, "precision": "fp32", "probe_budget_s": 5.0}


def train(width: int, steps: int = 5) -> OptimizedParallel:
    model = OptimizedParallel(nn.Sequential(nn.Linear(width, width), nn.ReLU()), **PINS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, width)).sum().backward()
        optimizer.step()
    return model


def test_memory_over_time_is_the_trials(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("the curve is of the CPU's allocator")
    model = train(8)
    page = model.visualize_performance(tmp_path).read_text()
    assert "Memory over time" in page
    timeline = json.loads((tmp_path / "run.json").read_text())["timeline"]
    held = [sample["value"] for sample in timeline["counters"]]
    # parameters 8 * 8 + 8 floats of 4 bytes stay all the time
    assert min(held) >= 4 * (8 * 8 + 8)
    assert max(held) > min(held)
