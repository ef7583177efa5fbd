"""Every point of every curve, in passes over all of them.

What one pass finds of a point depends on who else used the machine in that second. A point's bursts
lie a whole pass apart, so that no neighbour disturbs all of them but one who stays. Bursts in which
threads had to wait for a core do not count beside others (run_queue.py): of those alone, where a
neighbour stays, the quickest does. A point whose
quietest bursts agree is visited in every third pass only: its time goes to those whose do not,
which are bound by memory or by caches that others share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median
from typing import Any

import torch

from parallel_opt.probe_company import company
from parallel_opt.probe_kernels import ARITHMETIC, Curve
from parallel_opt.probe_points import Kept
from parallel_opt.probe_timing import (
    QUIET_ROUND,
    known_spread,
    percentile,
    steady,
    threads_set,
    time_queued,
    time_rounds,
)
from parallel_opt.run_queue import Watch

PASSES = 10  # that the budget is cut for; more where points are settled and time is left
MOST_PASSES = 60
AGREEING, AGREE = 3, 0.03  # bursts of a settled point, the quietest ones, and how far they differ
SETTLED_EVERY = 3  # passes
SLOW_FP16 = 0.8  # below this share of the fp32 rate fp16 is not worth more of the budget
CHEAP_S = 3e-3  # a GPU's calls below this are timed late too: one size alone tells it far too slow
PRODUCT = 512  # wide: a millisecond
TOO_LONG = 1.5  # times a point's share of the budget: a larger call would eat the others' time


def _beside(curve: Curve) -> AbstractContextManager[None]:
    """The cores that a curve leaves to others are at work, as other ranks keep them."""
    others = curve.all_threads - curve.threads if curve.threads > 0 else 0
    if others <= 0:
        return nullcontext()
    return company(others, arithmetic=curve.kernel.startswith(ARITHMETIC))


@dataclass(frozen=True)
class Burst:
    seconds: float  # of a call
    alone: bool  # no thread waited for a core


@dataclass
class Sampled:
    """What is known of one curve: the bursts of its first points."""

    curve: Curve
    end: int  # points from here on are left out
    bursts: list[list[Burst]] = field(default_factory=list)

    def counted(self, index: int) -> list[float]:
        """Seconds of the bursts that nobody disturbed; if there is none, of the quickest."""
        alone = [burst.seconds for burst in self.bursts[index] if burst.alone]
        return alone or [min(burst.seconds for burst in self.bursts[index])]

    def seconds(self, index: int) -> float:
        return steady(self.counted(index))

    def settled(self, index: int) -> bool:
        """Whether several moments showed the same. Pre: the point was measured."""
        quiet = sorted(self.counted(index))[:AGREEING]
        return len(quiet) == AGREEING and quiet[-1] <= (1 + AGREE) * quiet[0]

    def rates(self) -> dict[float, float]:
        """FLOP/s or bytes/s by size."""
        points = self.curve.points
        return {
            points[i].size: points[i].calls * points[i].size / self.seconds(i)
            for i in range(len(self.bursts))
        }

    def spread(self) -> float | None:
        """Of the bursts, in the middle of the points that have several."""
        counted = [self.counted(index) for index in range(len(self.bursts))]
        known = [scatter for one in counted if (scatter := known_spread(one)) is not None]
        return median(known) if known else None

    def disturbed(self) -> bool:
        """Whether half of its points were never seen alone."""
        never = sum(not any(burst.alone for burst in bursts) for bursts in self.bursts)
        return 2 * never > len(self.bursts)


@dataclass
class Passes:
    """Measures curves of one device until ``left_s`` is 0, or all points are settled."""

    device: torch.device
    left_s: Callable[[], float]
    notes: list[str]
    tell: Callable[[str], None] | None = None  # progress
    overtime_s: float = float("inf")  # beyond the budget, for curves that have no point yet
    missed: list[str] = field(default_factory=list)  # curves that had no time left
    _operands: tuple[torch.Tensor, torch.Tensor] | None = None
    _all: bool = True  # settled points too are visited in this pass

    def run(self, curves: Sequence[Curve], between: Callable[[], None]) -> list[Sampled]:
        """``between`` is called before each pass, and is to measure what is no curve."""
        found = [Sampled(curve, len(curve.points)) for curve in curves]
        # Curves that differ in threads alone use the same operands.
        key: Callable[[Sampled], Any] = lambda one: (one.curve.kernel, one.curve.dtype)  # noqa: E731
        groups = [list(group) for _, group in groupby(found, key)]
        points = max(1, sum(len(curve.points) for curve in curves))
        share_s = max(0.0, self.left_s()) / points
        for number in range(MOST_PASSES):
            if number > 0 and self.left_s() <= 0:
                break
            self._all = number % SETTLED_EVERY == 0
            if number >= PASSES and self._all and self._is_done(found):
                break
            if number < PASSES or self._all:
                between()
            if number < PASSES:
                burst_s = max(0.0, self.left_s()) / points / (PASSES - number)
                burst_s = min(burst_s, share_s / PASSES)
            for index, group in enumerate(groups):
                if self.tell and number == 0:
                    self.tell(f"{group[0].curve.label} ({index + 1} of {len(groups)})")
                self._pass(group, found, burst_s, share_s)
            if self.tell:
                self.tell(f"pass {number + 1} done, {max(0.0, self.left_s()):.0f} s left")
        self.missed = sorted({o.curve.label for o in found if not o.bursts and o.end > 0})
        if self.missed:
            names = ", ".join(self.missed)
            self.notes.append(f"probe: no time was left for {names}: data sheets stand for them")
        return found

    def _products(self) -> None:
        """What a step does between its other operators, which run slower behind it: AdamW's loop
        over 54 tensors took 4.5 ms over and over, 6.5 behind products, 6.6 in steps."""
        if self._operands is None:
            self._operands = (
                torch.full((PRODUCT, PRODUCT), 0.5),
                torch.full((PRODUCT, PRODUCT), 0.5),
            )
        with torch.no_grad():
            torch.mm(*self._operands)

    @staticmethod
    def _is_done(found: Sequence[Sampled]) -> bool:
        return all(one.settled(index) for one in found for index in range(len(one.bursts)))

    def _pass(
        self, group: Sequence[Sampled], found: Sequence[Sampled], burst_s: float, share_s: float
    ) -> None:
        for index, point in enumerate(group[0].curve.points):
            wanted = [one for one in group if self._wants(one, index, share_s)]
            if not wanted:
                continue
            try:
                call = point.make(self.device)
                if self.device.type == "cpu":
                    call = Kept(call)
                for one in wanted:
                    with threads_set(one.curve.threads), _beside(one.curve):
                        self._burst(one, index, call, burst_s)
            except RuntimeError as error:  # how torch refuses a kernel or a type
                reason = str(error).splitlines()[0]
                told = f"probe: {group[0].curve.label} does not run here: {reason}"
                if told not in self.notes:
                    self.notes.append(told)
                for one in wanted:
                    one.end = min(one.end, index)
                continue
            for one in wanted:
                if one.curve.dtype == "fp16" and self._is_slow(one, index, found):
                    one.end = min(one.end, index + 1)

    def _wants(self, one: Sampled, index: int, share_s: float) -> bool:
        if index >= one.end:
            return False
        if index < len(one.bursts):
            return self.left_s() > 0 and (self._all or not one.settled(index))
        if index == 0:
            # Every curve has a point, unless the machine is so busy that calls take forever.
            return self.left_s() > -self.overtime_s
        if len(one.bursts) < index:
            return False
        point, known = one.curve.points[index], one.curve.points[index - 1]
        ratio = point.calls * point.size / (known.calls * known.size)
        likely_s = ratio * one.seconds(index - 1)
        if self.device.type == "cuda" and likely_s < CHEAP_S:
            return True
        # Flat beyond. A disturbed first burst may say so wrongly, and a later pass finds out.
        return likely_s <= TOO_LONG * share_s and self.left_s() > 0

    def _burst(self, one: Sampled, index: int, call: Callable[[], object], burst_s: float) -> None:
        """Of the kernels alone: what a GPU's host adds to them is `launch`."""
        watch = Watch()
        if self.device.type == "cuda":
            burst = Burst(time_queued(call, burst_s, self.device), alone=True)
        else:
            warm = index < len(one.bursts)
            between = None if one.curve.kernel.startswith(ARITHMETIC) else self._products
            rounds = time_rounds(call, burst_s, lambda: None, warm=warm, before=between)
            alone = watch.was_alone(one.curve.all_threads)
            # A neighbour that takes a core makes threads wait for each other a hundred times as
            # long as they compute; some rounds pass between its turns.
            burst = Burst(percentile(rounds, QUIET_ROUND if alone else 0.0), alone)
        if index == len(one.bursts):
            one.bursts.append([])
        one.bursts[index].append(burst)

    @staticmethod
    def _is_slow(one: Sampled, index: int, found: Sequence[Sampled]) -> bool:
        """Against another type of the kernel at sizes up to this one."""
        size = one.curve.points[index].size
        other = next(
            (o for o in found if o.curve.kernel == one.curve.kernel and o.bursts and o is not one),
            None,
        )
        known = [rate for s, rate in other.rates().items() if s <= size] if other else []
        return bool(known) and one.rates()[size] < SLOW_FP16 * known[-1]
