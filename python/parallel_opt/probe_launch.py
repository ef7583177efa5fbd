"""What one operator costs beside its kernel: Python, dispatcher, autograd.

In a step on a CPU the kernels push interpreter and dispatcher out of the near caches, so that a
call takes several times as long as in a loop of calls alone. There every call follows work on
FLUSH_BYTES, which is what one operator of a small model moves: with more, all of the interpreter
comes from memory, which no step shows (2 MiB of near cache: 2 us a call hot, 5 after 1 MiB, 43
after 6 MiB; twenty models showed 11 to 30).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from parallel_opt.probe_timing import QUIET_ROUND, percentile, steady, threads_set, time_burst

OPERATORS = 100  # of a round on a GPU
COLD_OPERATORS = 20
FLUSH_BYTES = 3 << 19
ELEMENTS = 16  # of an operator that has nothing to compute

Document = dict[str, Any]


class Launches:
    """Bursts of both numbers of a probe: `launch_s`, forward without autograd, and
    `launch_autograd_s`, forward and backward."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._bursts: dict[str, list[float]] = {"launch_s": [], "launch_autograd_s": []}

    def measure(self, budget_s: float) -> None:
        """One burst of each."""
        rounds = self._hot if self._device.type == "cuda" else self._cold
        with threads_set(1):
            for bursts, training in zip(self._bursts.values(), (False, True), strict=True):
                bursts.append(rounds(training, budget_s / len(self._bursts)))

    def found(self) -> dict[str, Document]:
        """Pre: measured at least once."""
        return {
            name: {
                "value": steady(bursts),
                "low": min(bursts),
                "high": max(bursts),
                "quality": "measured",
            }
            for name, bursts in self._bursts.items()
        }

    def _hot(self, training: bool, budget_s: float) -> float:
        x = torch.full((ELEMENTS,), 0.5, device=self._device, requires_grad=training)
        factor = torch.full_like(x, 1.0, requires_grad=False)
        gradient = torch.ones_like(factor)

        def call() -> object:
            with torch.set_grad_enabled(training):
                y = x
                for _ in range(OPERATORS):
                    y = y * factor
            return torch.autograd.grad(y, [x], gradient) if training else y

        sync = lambda: torch.cuda.synchronize(self._device)  # noqa: E731
        return time_burst(call, budget_s, sync) / OPERATORS

    def _cold(self, training: bool, budget_s: float) -> float:
        layers = [nn.ReLU() for _ in range(COLD_OPERATORS)]
        a, b, out = torch.full((3, FLUSH_BYTES // 12), 0.5).unbind()
        x = torch.full((ELEMENTS,), 0.5)
        gradient = torch.ones_like(x)

        def flush() -> None:
            torch.mul(a, b, out=out)

        rounds: list[float] = []
        begin = time.perf_counter()
        while len(rounds) < 3 or (len(rounds) < 60 and time.perf_counter() - begin < budget_s):
            rounds.append(_round(layers, x, gradient if training else None, flush))
        return percentile(sorted(rounds[1:]), QUIET_ROUND)


def _round(
    layers: list[nn.ReLU],
    x: torch.Tensor,
    gradient: torch.Tensor | None,
    flush: Callable[[], None],
) -> float:
    """Seconds of one of ``layers``, and of its backward when there is a gradient, without what
    ``flush`` takes before each."""
    flushing = 0.0

    def aside(_: torch.Tensor) -> None:
        nonlocal flushing
        start = time.perf_counter()
        flush()
        flushing += time.perf_counter() - start

    spent = 0.0
    with torch.set_grad_enabled(gradient is not None):
        y = x.requires_grad_() if gradient is not None else x.detach()
        for layer in layers:
            flush()
            start = time.perf_counter()
            y = layer(y)
            spent += time.perf_counter() - start
            if gradient is not None:
                y.register_hook(aside)  # type: ignore[no-untyped-call]
    if gradient is not None:
        start = time.perf_counter()
        torch.autograd.grad(y, [x], gradient)
        spent += time.perf_counter() - start - flushing
    return spent / len(layers)
