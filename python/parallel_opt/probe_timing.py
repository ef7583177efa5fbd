"""Timing of one call on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from parallel_opt.compat import keep_gpu_busy

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


COVER_S = 50e-6  # least time that the device is kept busy while calls queue up
MOST_COVER_S = 0.05


def time_queued(call: Callable[[], object], budget_s: float, device: torch.device) -> Timing:
    """Seconds that a GPU takes for ``call``, the host's time left out: calls queue up behind
    something that keeps the device busy, and events in the queue tell the time."""
    call()
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    call()
    host_s = time.perf_counter() - begin
    torch.cuda.synchronize(device)
    call_s = max(time.perf_counter() - begin, 1e-7)
    inner = max(1, min(50, int(1e-3 / call_s)))
    cover_s = COVER_S + 2 * host_s * inner
    rounds: list[float] = []
    while len(rounds) < 5 or (len(rounds) < 60 and time.perf_counter() - begin < budget_s):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        keep_gpu_busy(min(cover_s, MOST_COVER_S))
        first.record()
        for _ in range(inner):
            call()
        last.record()
        late = first.query() and cover_s < MOST_COVER_S
        torch.cuda.synchronize(device)
        if late:  # the device had to wait for the host
            cover_s *= 2
            continue
        rounds.append(first.elapsed_time(last) * 1e-3 / inner)
        if len(rounds) >= 7 and spread(sorted(rounds)) < STABLE_SPREAD:
            break
        if call_s > 0.2 * budget_s and call_s > 2e-3:
            break
    rounds.sort()
    return Timing(percentile(rounds, 0.1), percentile(rounds, 0.5), spread(rounds))


def raise_clocks(device: torch.device, seconds: float = 0.3) -> None:
    """Works until an idle GPU has raised its clocks."""
    x = torch.full((2048, 2048), 0.5, device=device)
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        torch.mm(x, x)
        torch.cuda.synchronize(device)


def percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(ordered: Sequence[float]) -> float:
    return (percentile(ordered, 0.75) - percentile(ordered, 0.25)) / percentile(ordered, 0.5)


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """The thread setting of one curve; the caller's is put back."""
    before = torch.get_num_threads()
    if count > 0:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def own_state() -> Iterator[None]:
    """Probing inside someone's training run must leave no trace in torch's modes."""
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    autocast = [kind for kind in kinds if torch.is_autocast_enabled(kind)]
    for kind in autocast:
        torch.set_autocast_enabled(kind, False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for kind in autocast:
            torch.set_autocast_enabled(kind, True)
