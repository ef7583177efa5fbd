"""Time on the device that a model runs on: a GPU works behind the host's back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Clock = Callable[[], float]


def device_of(module: nn.Module) -> torch.device:
    """Where the module's first parameter lives; the CPU without one."""
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiting_clock(device: torch.device, clock: Clock = time.perf_counter) -> Clock:
    """Seconds at which the device is done with what came before, by ``clock``."""
    if device.type != "cuda":
        return clock

    def now() -> float:
        synchronize(device)
        return clock()

    return now


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may still take: free, or kept by torch unused."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)


class StepClock:
    """Moments of a training step, without waiting for the device when they are taken.

    On a CPU a moment is a clock's reading. On a GPU it is an event in the device's queue, since the
    host runs ahead: what lies between two of them is what the device took, host-bound gaps
    included. Seconds between two moments wait for the later one.
    """

    def __init__(
        self, device: torch.device, clock: Clock = time.perf_counter, event: Any = None
    ) -> None:
        self._queued = device.type == "cuda"
        self._device = device
        self._clock = clock
        self._event = event or (lambda: torch.cuda.Event(enable_timing=True))

    def mark(self) -> Any:
        """This moment."""
        if not self._queued:
            return self._clock()
        event = self._event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """From one moment to a later one."""
        if not self._queued:
            return float(end - begin)
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3


class FiniteWatch:
    """Tells once when a gradient that it is shown is not finite.

    On a GPU the answer is read when it has arrived, at a later ``poll()``: reading it at once would
    make the host wait in every step.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._told = False
        self._arriving: deque[tuple[int, torch.Tensor, Any]] = deque()

    def see(self, gradient: torch.Tensor, step: int) -> None:
        """One sum: NaN and infinity survive summing."""
        if self._told:
            return
        finite = torch.isfinite(gradient.sum())
        if gradient.device.type != "cuda":
            self._answer(bool(finite), step)
            return
        here = torch.empty((), dtype=torch.bool, pin_memory=True)
        here.copy_(finite, non_blocking=True)
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(gradient.device))
        self._arriving.append((step, here, event))

    def poll(self) -> None:
        """Reads the answers that have arrived."""
        while self._arriving and self._arriving[0][2].query():
            step, finite, _ = self._arriving.popleft()
            self._answer(bool(finite), step)

    def _answer(self, finite: bool, step: int) -> None:
        if finite or self._told:
            return
        self._told = True
        self._arriving.clear()
        self._tell(step)
