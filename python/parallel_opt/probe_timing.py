"""Timing of calls on a machine that others use too.

One definition for every number of a probe: seconds of a call in the middle of steady work, as a
training step meets it. Rounds come in bursts, and a burst's lower quartile counts, half a per cent
below its middle on a quiet machine; bursts of a call are spread over the whole probe, and their
median counts: a step is a sum of calls in whatever state the machine is. Where others come and go
within seconds the quietest burst repeats best (of the same probes 94 % of all points agreed within
10 %, 79 % by their medians), where they never rest the median does (93 %; 69 % by the quietest,
which was 4 % lower there and is what no step meets).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from parallel_opt.compat import keep_gpu_busy
from parallel_opt.engine import allocator

LEAST_ROUNDS, MOST_ROUNDS = 3, 60
QUIET_ROUND = 0.25  # of a burst's rounds: the place in their order that counts
BEHIND = 3  # calls behind a product, as a block of a model has them
ROUND_S = 3e-4  # a round lasts long enough that the clock and the synchronisation do not count


def steady(bursts: Sequence[float]) -> float:
    """What a training step can count on. Pre: at least one burst."""
    return percentile(sorted(bursts), 0.5)


def time_burst(call: Callable[[], object], budget_s: float, sync: Callable[[], None]) -> float:
    """Seconds of ``call``, of rounds of about ``budget_s`` in all the lower quartile."""
    return percentile(time_rounds(call, budget_s, sync), QUIET_ROUND)


def time_rounds(
    call: Callable[[], object],
    budget_s: float,
    sync: Callable[[], None],
    *,
    warm: bool = False,
    before: Callable[[], object] | None = None,
) -> list[float]:
    """Seconds of ``call`` in rounds of about ``budget_s`` in all, the quickest first. ``before``
    each round runs what is not timed; a round has few calls then.

    The first call is thrown away: it wakes threads, touches pages and, the first time, compiles.
    Not where it took the budget and the code is ``warm``: a call so long does not notice.
    """
    begin = time.perf_counter()
    call()
    sync()
    first_s = time.perf_counter() - begin
    if warm and first_s >= budget_s:
        return [first_s]
    start = time.perf_counter()
    call()
    sync()
    once_s = time.perf_counter() - start
    most = 200 if before is None else BEHIND
    inner = max(1, min(most, int(ROUND_S / max(once_s, 1e-7))))
    rounds = [once_s] if inner == 1 and before is None else []
    least = 1 if first_s >= budget_s else LEAST_ROUNDS
    while len(rounds) < least or (
        len(rounds) < MOST_ROUNDS and time.perf_counter() - begin < budget_s
    ):
        if before is not None:
            before()
        start = time.perf_counter()
        for _ in range(inner):
            call()
        sync()
        rounds.append((time.perf_counter() - start) / inner)
    return sorted(rounds)


COVER_S = 50e-6  # least time that the device is kept busy while calls queue up
MOST_COVER_S = 0.05


def time_queued(call: Callable[[], object], budget_s: float, device: torch.device) -> float:
    """Median seconds that a GPU takes for ``call``, the host's time left out: calls queue up behind
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
    least = 1 if call_s >= budget_s else LEAST_ROUNDS
    while len(rounds) < least or (
        len(rounds) < MOST_ROUNDS and time.perf_counter() - begin < budget_s
    ):
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
    return percentile(sorted(rounds), 0.5)


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


def known_spread(values: Sequence[float]) -> float | None:
    """What `spread` says; of a single value nothing is known."""
    return spread(values) if len(values) > 1 else None


def spread(values: Sequence[float]) -> float:
    """Interquartile range over median. Pre: at least one value, none of them 0."""
    ordered = sorted(values)
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


@contextmanager
def kept_memory() -> Iterator[None]:
    """What is freed stays with the process, as it does in the middle of training. Otherwise large
    results take page faults or not, by what the process did before: measured 5 or 25 ms for one
    norm of 32 MiB."""
    kept = allocator.keep_memory() is None
    try:
        yield
    finally:
        if kept:
            allocator.release()
