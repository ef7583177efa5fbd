"""Checks the chosen plan against its fallback on the user's own training steps.

Trials leave out the user's loss and data; only the loop itself shows what a plan is worth. For a
few steps early in the run the module therefore takes turns between the plan and its fallback: what
the user's pins leave of plain PyTorch. These are ordinary training steps, none is lost or repeated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import median

from parallel_opt._core import Estimate, Plan
from parallel_opt.engine.settings import Settings
from parallel_opt.options import Options

BEGIN_AFTER = 6
"""Steps of the plan before the first turn: compilation and caches settle."""
TURNS = 6
STEPS_PER_TURN = 4
"""The first step of a turn is not counted: it pays for the change."""
MOST_DOUBT = 0.15
"""A plan that is slower by more than this goes, however the steps vary."""
CHECKED_AFTER = BEGIN_AFTER + TURNS * STEPS_PER_TURN
"""Steps until all turns are over."""


@dataclass
class Verification:
    """Says for each step whether it should run the fallback, and in the end which is faster."""

    steps: int = 0
    plain_s: list[float] = field(default_factory=list)
    plan_s: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """All turns are over."""
        return self.steps >= CHECKED_AFTER

    def next_is_plain(self) -> bool:
        """Should the coming step run the fallback? It begins, so that both alternate."""
        position = self.steps - BEGIN_AFTER
        return position >= 0 and not self.done and position // STEPS_PER_TURN % 2 == 0

    def next_counts(self) -> bool:
        """Is the coming step one of the plan's that does not pay for a change?"""
        position = self.steps - BEGIN_AFTER
        return position < 0 or not (self.next_is_plain() or position % STEPS_PER_TURN == 0)

    def step_ended(self, seconds: float) -> None:
        """The step that ``next_is_plain`` was asked for took ``seconds``."""
        position = self.steps - BEGIN_AFTER
        if position >= 0 and position % STEPS_PER_TURN > 0 and not self.done:
            (self.plain_s if self.next_is_plain() else self.plan_s).append(seconds)
        self.steps += 1

    def ratio(self) -> float:
        """Time of the fallback over time of the plan, medians. Pre: done."""
        return median(self.plain_s) / median(self.plan_s)

    def doubt(self) -> float:
        """Half width of the 80 % interval of ``ratio``, relative: nine steps on a busy machine say
        less than the trials that chose the plan. At most MOST_DOUBT. Pre: done.

        As for trials (search/decide.cpp): 1.91 times half the distance of the 20 % and 80 %
        quantiles over the root of the steps.
        """
        widths = []
        for times in (self.plain_s, self.plan_s):
            ordered, last = sorted(times), len(times) - 1
            spread = ordered[round(0.8 * last)] - ordered[round(0.2 * last)]
            widths.append(1.91 * spread / 2 / median(times) / math.sqrt(len(times)))
        return min(MOST_DOUBT, math.hypot(*widths))

    def text(self, fallback: str) -> str:
        """The outcome in one line; ``fallback`` says what it was compared with. Pre: done."""
        plain, plan = median(self.plain_s), median(self.plan_s)
        return (
            f"checked on {len(self.plan_s)} real steps each: {self.ratio():.2f} x the speed of "
            f"{fallback} ({1e3 * plan:.1f} ms against {1e3 * plain:.1f} ms)"
        )


def fallback_settings(plan: Plan, plain: Plan | None, options: Options) -> Settings:
    """What may stand in for ``plan``: ``plain``, what the pins leave of plain PyTorch.

    None: the plan was given and all of it is pinned; what changes no number (how code is run, not
    what it computes) may still be compared with. Threads are the process's own unless pinned.
    """
    if plain is not None:
        return replace(Settings.of(plain), threads=options.threads or 0)
    given = Settings.of(plan)
    return Settings(
        precision=given.precision,
        threads=given.threads,
        recompute=given.recompute,
        micro_batches=given.micro_batches,
    )


def is_better(
    ratio: float, plan: Estimate, plain: Estimate, objective: str, max_slowdown: float
) -> bool:
    """Whether the plan is worth keeping by the objective when it runs ``ratio`` times as fast.

    Energy is modelled power times measured time: nothing measures it step by step everywhere.
    """
    if objective == "time":
        return ratio > 1.0
    power = 1.0
    if plan.energy_j is not None and plain.energy_j is not None:
        watts = [e.energy_j.value / e.step_time_s.value for e in (plan, plain) if e.energy_j]
        power = watts[1] / watts[0]
    saving = power * ratio**2 if objective == "edp" else power * ratio
    return saving > 1.0 and 1.0 / ratio - 1.0 <= max_slowdown
