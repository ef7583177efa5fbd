"""Checks the chosen plan against plain PyTorch on the user's own training steps.

Trials leave out the user's loss and data; only the loop itself shows what a plan is worth. For a
few steps early in the run the module therefore takes turns between the plan and plain. These are
ordinary training steps, none is lost or repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

BEGIN_AFTER = 6
"""Steps of the plan before the first turn: compilation and caches settle."""
TURNS = 6
STEPS_PER_TURN = 4
"""The first step of a turn is not counted: it pays for the change."""
CHECKED_AFTER = BEGIN_AFTER + TURNS * STEPS_PER_TURN
"""Steps until all turns are over."""


@dataclass
class Verification:
    """Says for each step whether it should run plain, and in the end which is faster."""

    steps: int = 0
    plain_s: list[float] = field(default_factory=list)
    plan_s: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """All turns are over."""
        return self.steps >= CHECKED_AFTER

    def next_is_plain(self) -> bool:
        """Should the coming step run plain? Plain begins, so that plan and plain alternate."""
        position = self.steps - BEGIN_AFTER
        return position >= 0 and not self.done and position // STEPS_PER_TURN % 2 == 0

    def step_ended(self, seconds: float) -> None:
        """The step that ``next_is_plain`` was asked for took ``seconds``."""
        position = self.steps - BEGIN_AFTER
        if position >= 0 and position % STEPS_PER_TURN > 0 and not self.done:
            (self.plain_s if self.next_is_plain() else self.plan_s).append(seconds)
        self.steps += 1

    def ratio(self) -> float:
        """Time of plain over time of the plan, medians. Pre: done."""
        return median(self.plain_s) / median(self.plan_s)

    def text(self) -> str:
        """The outcome in one line. Pre: done."""
        plain, plan = median(self.plain_s), median(self.plan_s)
        return (
            f"checked on {len(self.plan_s)} real steps each: {self.ratio():.2f} x plain "
            f"({1e3 * plan:.1f} ms against {1e3 * plain:.1f} ms)"
        )
