"""What the user pins stays in force, whatever trials and verification find."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from parallel_opt import InputError, OptimizedParallel, planner
from parallel_opt.engine.verify import CHECKED_AFTER, Verification
from parallel_opt.measure import Ratio, Timing
from parallel_opt.trial import Trial

STEPS = CHECKED_AFTER + 8


class Seeing(nn.Module):
    """Remembers the dtype of its hidden layer at every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 2)
        self.seen: list[str] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        self.seen.append(str(hidden.dtype).removeprefix("torch."))
        y: torch.Tensor = self.second(hidden.relu())
        return y


def train(model: OptimizedParallel, steps: int = STEPS) -> None:
    # With momentum a loop over parameters launches more kernels than a fused step.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(8, 16)).square().mean().backward()
        optimizer.step()


@pytest.fixture
def fused_wins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trials that find a fused optimizer twice as fast; what they were asked to measure."""
    asked: list[Any] = []

    def fake(
        module: nn.Module,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        candidates: Iterable[Any],
        **given: Any,
    ) -> list[Trial]:
        every = [given["yardstick"], *candidates]
        asked.extend(every)
        trials = []
        for settings in every:
            seconds = 0.05 if settings.fused_optimizer else 0.1
            trials.append(
                Trial(
                    settings,
                    Timing(seconds, seconds, seconds, 9),
                    Ratio(0.1 / seconds, 0.1 / seconds, 0.1 / seconds, 9),
                    max_relative_difference=0.0,
                )
            )
        return trials

    monkeypatch.setattr(planner, "run_trials", fake)
    return asked


@pytest.fixture
def plan_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verification, "ratio", lambda self: 0.5)


@pytest.fixture
def plan_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verification, "ratio", lambda self: 2.0)


def test_pinned_precision_survives_the_verification(
    fused_wins: list[Any], plan_loses: None, tmp_path: Path
) -> None:
    module = Seeing()
    model = OptimizedParallel(module, precision="bf16", compile=False)
    train(model, 3)
    assert model.plan is not None and model.plan.execution.fused_optimizer
    train(model, STEPS)
    # The first forward of all captures the model; from then on every step is in bf16.
    assert set(module.seen[-STEPS:]) == {"bfloat16"}
    # What is told is what runs: bf16 without the fused optimizer, which was not pinned.
    assert model.plan.precision == "bf16" and not model.plan.execution.fused_optimizer
    assert model.estimate().step_time_s.value == pytest.approx(0.1, rel=0.05)

    assert _line(model) in repr(model) and "fused optimizer" not in repr(model)
    assert model.explain()[0].startswith("checked on 9 real steps each: 0.50 x the speed of 1 rank")
    assert model.explain()[0].endswith(": back to " + _line(model))
    assert model.explain()[1].startswith("before: 1 rank x ")
    model.visualize_performance(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["plan"]["precision"] == "bf16"
    assert not run["plan"]["execution"]["fused_optimizer"]
    assert run["plan_line"] == _line(model)
    assert run["estimate"] == run["plan"]["estimate"]
    chosen = [row["plan"] for row in run["candidates"] if row["chosen"]]
    assert chosen == [_line(model)]
    assert [event["kind"] for event in run["events"]][-1] == "switch"
    # Steps of the plan that was left are not counted as steps of the one in force.
    assert 0 < run["measured"]["steps"] < STEPS + 3 - CHECKED_AFTER


def _line(model: OptimizedParallel) -> str:
    return planner._core.one_line(model.plan)


def test_yardstick_of_the_trials_has_the_pins(fused_wins: list[Any]) -> None:
    train(OptimizedParallel(Seeing(), precision="bf16", compile=False, threads=1), 1)
    yardstick = fused_wins[0]
    assert (yardstick.precision, yardstick.threads) == ("bf16", 1)
    assert not yardstick.fused_optimizer


def test_nothing_pinned_falls_back_to_plain(fused_wins: list[Any], plan_loses: None) -> None:
    module = Seeing()
    model = OptimizedParallel(module, compile=False)
    train(model)
    assert module.seen[-1] == "float32"
    assert model.explain()[0].endswith(": back to plain PyTorch")
    assert model.plan is not None and model.plan.precision == "fp32"
    assert not model.plan.execution.fused_optimizer


def test_plan_that_proves_faster_stays(fused_wins: list[Any], plan_wins: None) -> None:
    model = OptimizedParallel(Seeing(), precision="fp32", compile=False)
    train(model)
    assert model.plan is not None and model.plan.execution.fused_optimizer
    assert model.explain()[0].endswith("times the speed of plain PyTorch, measured")
    assert any("2.00 x the speed of plain PyTorch" in line for line in model.explain())


def test_given_plan_stays_and_says_where_it_is_from(
    fused_wins: list[Any], plan_loses: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "plan.json"
    first = OptimizedParallel(Seeing(), precision="bf16", compile=False)
    train(first, 1)
    first.export_plan(path)
    module = Seeing()
    model = OptimizedParallel(module, plan=path)
    with caplog.at_level(logging.WARNING, logger="parallel_opt"):
        train(model)
    assert set(module.seen[-STEPS + 1 :]) == {"bfloat16"}
    assert model.plan == first.plan
    assert model.explain()[0] == f"the plan was given: {path}"
    slower = [r.message for r in caplog.records if "slower than need be" in r.message]
    assert len(slower) == 1 and slower[0] in model.explain()


def test_memory_as_objective_is_not_judged_by_time(fused_wins: list[Any], plan_loses: None) -> None:
    model = OptimizedParallel(Seeing(), precision="fp32", compile=False, objective="memory")
    train(model)
    assert not any("checked on" in text for text in model.explain())


def test_plan_for_other_hardware_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    first = OptimizedParallel(Seeing(), precision="fp32", compile=False, probe_budget_s=0.0)
    train(first, 1)
    first.export_plan(path)
    document = json.loads(path.read_text())
    document["provenance"]["cluster_hash"] = "0" * 16
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as error:
        train(OptimizedParallel(Seeing(), plan=path), 1)
    assert str(error.value).startswith(f"{path}:provenance.cluster_hash: plan for other hardware")
