"""Carries measured trials into the C++ core and its decision back out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from parallel_opt import _core
from parallel_opt._core import Decision, Plan
from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.settings import Settings
from parallel_opt.measure import Timing
from parallel_opt.trial import Trial

Curve = list[tuple[float, int]]
"""Seconds since a step began, and bytes held."""


def core_trial(trial: Trial) -> _core.Trial:
    """A measured trial as the core's value."""
    settings = trial.settings
    document: dict[str, Any] = {
        "precision": settings.precision,
        "execution": {
            "compile": settings.compile,
            "memory_format": settings.memory_format,
            "attention": getattr(settings, "attention", "fused"),
            "fused_optimizer": settings.fused_optimizer,
            "keep_memory": getattr(settings, "keep_memory", False),
        },
        "threads": _threads(trial),
        "forward_backward_s": _uncertain(trial.forward_backward_s),
        "speedup": _speedup(trial),
        "samples": trial.forward_backward_s.n if trial.forward_backward_s is not None else 0,
        "optimizer_s": _uncertain(trial.optimizer_s),
        "peak_bytes": trial.peak_bytes,
        "warm_up_s": 0.0,  # the compiled code is kept, so the trial has paid for it
        "max_relative_difference": trial.max_relative_difference,
        "rounding": trial.rounding,
        "failed": trial.error,
    }
    given = {name: value for name, value in document.items() if value is not None}
    return _core.Trial.from_json(json.dumps(given), "trial")


def _threads(trial: Trial) -> int:
    """Of a plan's placement: a GPU has one."""
    if trial.engine is not None and trial.engine.device_type != "cpu":
        return 1
    return int(trial.settings.threads or torch.get_num_threads())


def _uncertain(timing: Timing | None) -> dict[str, Any]:
    if timing is None:  # no optimizer yet, or the trial failed
        return {"value": 0.0, "low": 0.0, "high": 0.0, "quality": "assumed"}
    times = {"value": timing.median_s, "low": timing.low_s, "high": timing.high_s}
    return {**times, "quality": "measured"}


def _speedup(trial: Trial) -> dict[str, Any] | None:
    ratio = trial.speedup
    if ratio is None:
        return None
    return {"value": ratio.median, "low": ratio.low, "high": ratio.high, "quality": "measured"}


def tried(wanted: Settings, trials: Sequence[Trial]) -> Trial | None:
    """The trial of these settings that ran: the optimizer is not part of what it compiled."""
    threads = torch.get_num_threads()
    for trial in trials:
        if trial.engine is None or trial.error is not None or trial.skipped is not None:
            continue
        settings = replace(
            trial.settings,
            fused_optimizer=wanted.fused_optimizer,
            threads=trial.settings.threads or threads,
        )
        if settings == replace(wanted, threads=wanted.threads or threads):
            return trial
    return None


def tried_engine(wanted: Settings, trials: Sequence[Trial]) -> LocalEngine | None:
    """The engine that a trial left behind for these settings, with its compiled code."""
    trial = tried(wanted, trials)
    if trial is None or trial.engine is None:
        return None
    trial.engine.settings = wanted
    return trial.engine


def memory_curves(trials: Sequence[Trial], plans: Sequence[Plan]) -> dict[str, Curve]:
    """By the line of a plan: bytes held over forward and backward, as its trial saw them."""
    found = ((_core.one_line(plan), tried(Settings.of(plan), trials)) for plan in plans)
    return {line: list(trial.memory_curve) for line, trial in found if trial is not None}


def considered(decision: Decision) -> list[dict[str, Any]]:
    """The candidates as a run document lists them."""
    rows = []
    for candidate in decision.candidates:
        step = candidate.plan.estimate.step_time_s
        measured = step.quality == "measured"
        # The cost model's own number beside the measured one: like compares with like.
        predicted = candidate.modelled_step_s or (None if measured else step)
        times = {"predicted_s": predicted, "measured_s": step if measured else None}
        rows.append(
            {
                "plan": candidate.label,
                "chosen": candidate.plan == decision.plan,
                **{name: json.loads(s.to_json()) for name, s in times.items() if s is not None},
                "peak_memory_bytes": candidate.plan.estimate.peak_memory_bytes.value,
                "reason": candidate.reason,
            }
        )
    return rows


def break_even(decision: Decision, cost_s: float) -> float | None:
    """Steps after which planning is won back against plain PyTorch; None when nothing is gained."""
    if decision.gain <= 0 or decision.gain >= 1:
        return None
    step_s = decision.plan.estimate.step_time_s.value
    return cost_s / (step_s / (1 - decision.gain) - step_s)


def words(settings: Any, *, on_cpu: bool = True) -> str:
    """The settings for people; threads matter on a CPU only."""
    threads = settings.threads or torch.get_num_threads()
    parts = [f"{threads} thread{'' if threads == 1 else 's'}"] if on_cpu else []
    parts += [settings.precision]
    parts += ["compiled"] if settings.compile else []
    parts += ["channels_last"] if settings.memory_format == "channels_last" else []
    if getattr(settings, "attention", "fused") == "unfused":
        parts += ["unfused attention"]
    parts += ["fused optimizer"] if settings.fused_optimizer else []
    return ", ".join(parts)
