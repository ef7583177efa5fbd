"""What a run leaves behind: every model of the script, memory over time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from parallel_opt import OptimizedParallel, record

PINS = {"compile": False, "precision": "fp32", "probe_budget_s": 5.0}


def train(width: int, steps: int = 5) -> OptimizedParallel:
    model = OptimizedParallel(nn.Sequential(nn.Linear(width, width), nn.ReLU()), **PINS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, width)).sum().backward()
        optimizer.step()
    return model


def test_a_script_that_trains_two_models_shows_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_current", [])
    monkeypatch.setenv("PARALLEL_OPT_RUN_DIR", str(tmp_path))
    first, second = train(8), train(16)
    record.close(0)
    run = json.loads((tmp_path / "run.json").read_text())
    assert first.plan is not None and second.plan is not None
    assert run["plan"] == json.loads(first.plan.to_json())
    assert [other["plan"] for other in run["others"]] == [json.loads(second.plan.to_json())]
    assert run["others"][0]["measured"]["steps"] > 0
    page = (tmp_path / "report.html").read_text()
    assert page.count('<section aria-label="Sequential"') == 2


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
