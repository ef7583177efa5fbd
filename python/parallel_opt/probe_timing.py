"""Timing of one call on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STABLE_SPREAD = 0.03  # interquartile range over median: enough rounds


@dataclass
class Timing:
    """Seconds of one call over rounds. Others on the machine only ever add time, so that the fast
    end (10th percentile) is the number to use; the median tells how much they added."""

    fast_s: float
    median_s: float
    spread: float


def time_calls(call: Callable[[], object], budget_s: float, sync: Callable[[], None]) -> Timing:
    """Repeat ``call`` for about ``budget_s`` seconds, after one that is thrown away."""
    call()  # compiles, starts pools, touches pages
    sync()
    begin = time.perf_counter()
    call()
    sync()
    rounds = [time.perf_counter() - begin]
    # A round lasts long enough that the clock and the synchronisation do not count.
    inner = max(1, min(200, int(3e-4 / max(rounds[0], 1e-7))))
    least = 1 if rounds[0] > 0.2 * budget_s and rounds[0] > 2e-3 else 5
    if inner > 1:
        rounds = []
    while len(rounds) < least or (len(rounds) < 60 and time.perf_counter() - begin < budget_s):
        start = time.perf_counter()
        for _ in range(inner):
            call()
        sync()
        rounds.append((time.perf_counter() - start) / inner)
        if len(rounds) >= 7 and spread(sorted(rounds)) < STABLE_SPREAD:
            break
    rounds.sort()
    return Timing(percentile(rounds, 0.1), percentile(rounds, 0.5), spread(rounds))


def percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(ordered: Sequence[float]) -> float:
    return (percentile(ordered, 0.75) - percentile(ordered, 0.25)) / percentile(ordered, 0.5)
