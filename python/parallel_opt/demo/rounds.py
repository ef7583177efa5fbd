"""Runs the ways of one task in interleaved rounds and reduces what they did to numbers with
spread."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TextIO

from parallel_opt._core import EnergyMeter
from parallel_opt.demo.variants import Ways
from parallel_opt.engine.verify import CHECKED_AFTER

Progress = Callable[[str, int], None]
"""Text to show, and how many units of work are now done."""


@dataclass(frozen=True)
class Shape:
    """How much the demo runs."""

    rounds: int = 12
    steps: int = 6
    warm_up: int = CHECKED_AFTER + 2
    """Until the plan has been checked against plain on real steps: the rounds compare what runs for
    the rest of a training."""

    @property
    def units(self) -> int:
        """Units of progress per task: rounds and closing work, and start-up, which includes
        planning."""
        return len(Ways.NAMES) * (self.rounds + 4)


@dataclass
class Collected:
    """Everything one way reported."""

    step_s: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    energy_j: list[float] = field(default_factory=list)
    energy_quality: str = "unavailable"
    held_out: float = float("nan")
    peak_bytes: int = 0
    rss_bytes: int = 0
    curve: list[tuple[float, int]] = field(default_factory=list)
    spans: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)


def spread(values: list[float]) -> dict[str, float]:
    """Median and the 10th and 90th percentile (nearest rank)."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "median": median(ordered),
        "low": ordered[round(0.1 * last)],
        "high": ordered[round(0.9 * last)],
    }


def collect(
    task: str,
    shape: Shape,
    options: dict[str, Any],
    show: Progress,
    log: TextIO | None = None,
) -> dict[str, Collected]:
    """Train the task each way: start-up one after another, then rounds in rotating order.

    What the ways print while they train goes to ``log``; None: nowhere, unless one fails.
    """
    collected = {way: Collected() for way in Ways.NAMES}
    done = 0
    with Ways(task, options, log) as ways:
        for way in Ways.NAMES:
            show(f"{task}: {way}: starting" + ("" if way == "plain" else " and planning"), done)
            answer = ways.variants[way].ask("run", steps=shape.warm_up)
            collected[way].losses += answer["losses"]
            done += 2
        for number in range(shape.rounds):
            for way in ways.order():
                show(f"{task}: round {number + 1} of {shape.rounds}, {way}", done)
                _round(ways, way, shape.steps, collected[way])
                done += 1
        for way in Ways.NAMES:
            show(f"{task}: {way}: memory and held-out loss", done)
            _close(ways, way, collected[way])
            done += 2
    return collected


def _round(ways: Ways, way: str, steps: int, into: Collected) -> None:
    meter = EnergyMeter()
    meter.begin()
    answer = ways.variants[way].ask("run", steps=steps)
    reading = meter.end()
    into.step_s.append(answer["step_s"])
    into.losses += answer["losses"]
    into.cpu_s += answer["cpu_s"]
    into.wall_s += answer["wall_s"]
    into.energy_quality = reading.quality
    if reading.energy_j is not None:
        into.energy_j.append(reading.energy_j.value / steps)


def _close(ways: Ways, way: str, into: Collected) -> None:
    variant = ways.variants[way]
    memory = variant.ask("memory")
    into.peak_bytes, into.rss_bytes = memory["peak_bytes"], memory["rss_bytes"]
    into.losses += memory["losses"]
    into.curve, into.spans = memory["curve"], memory["timeline"]
    into.held_out = variant.ask("evaluate")["held_out"]
    into.about = variant.ask("describe")


def ratios(plain: Collected, other: Collected) -> list[float]:
    """Samples/s of ``other`` over those of ``plain``, per interleaved round."""
    pairs = zip(plain.step_s, other.step_s, strict=True)
    return [median(slow) / median(fast) for slow, fast in pairs]


def cores() -> int:
    """Logical cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
