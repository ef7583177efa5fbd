"""What a process really used: time per step, allocator bytes, resident memory, CPU share."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import nn

from parallel_opt.compat import cpu_allocations
from parallel_opt.device_time import Clock, free_bytes
from parallel_opt.engine.fused_optimizer import FusedOptimizer


@dataclass(frozen=True)
class Timing:
    """Seconds over ``n`` samples: the median, and the 20 % and 80 % quantiles."""

    median_s: float
    low_s: float
    high_s: float
    n: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Pre: at least one sample."""
        ordered = sorted(samples)
        return cls(
            quantile(ordered, 0.5), quantile(ordered, 0.2), quantile(ordered, 0.8), len(ordered)
        )


@dataclass(frozen=True)
class Ratio:
    """A ratio over ``n`` pairs measured side by side: median, 20 % and 80 % quantiles."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, over: Sequence[float], under: Sequence[float]) -> Ratio:
        """Of the pairs both have. Pre: at least one. Steadier than two medians when it is busy."""
        timing = Timing.of([a / b for a, b in zip(over, under, strict=False)])
        return cls(timing.median_s, timing.low_s, timing.high_s, timing.n)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours. Pre: sorted, not empty."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def resident_bytes(module: nn.Module, optimizers: Iterable[torch.optim.Optimizer] = ()) -> int:
    """Bytes that stay between steps: parameters, buffers, gradients and optimizer state.

    Storages count once, however many tensors share them.
    """
    tensors: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    tensors += [p.grad for p in module.parameters() if p.grad is not None]
    return _storage_bytes(tensors + _state_tensors(optimizers))


def state_bytes(optimizers: Iterable[torch.optim.Optimizer]) -> int:
    """Bytes of optimizer state that exist; most optimizers make theirs in the first step."""
    return _storage_bytes(_state_tensors(optimizers))


def _state_tensors(optimizers: Iterable[torch.optim.Optimizer]) -> list[torch.Tensor]:
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    return [x for state in states for x in state.values() if isinstance(x, torch.Tensor)]


def _storage_bytes(tensors: list[torch.Tensor]) -> int:
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def transient_memory(
    run: Callable[[], Any], device: torch.device | str = "cpu"
) -> tuple[int, list[tuple[float, int]]]:
    """Most bytes that ``run`` holds at one time beyond what was allocated before it, and on the CPU
    the curve that this is the top of.

    On the CPU from every allocation and release of torch's allocator, compiled code included; what
    is released inside but was allocated before is not subtracted. Scratch memory that libraries
    allocate for themselves is not seen. On CUDA from the caching allocator's own peak.
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, []
    curve = cpu_memory_curve(run)
    return max(held for _, held in curve), curve


def transient_peak_bytes(run: Callable[[], Any], device: torch.device | str = "cpu") -> int:
    """The first of ``transient_memory``."""
    return transient_memory(run, device)[0]


def cpu_memory_curve(run: Callable[[], Any]) -> list[tuple[float, int]]:
    """Seconds since ``run`` began and bytes it holds beyond what was allocated before it.

    One point after each allocation and release of torch's CPU allocator, in order, after (0, 0).
    """
    changes = cpu_allocations(run)
    held = accumulate(change.bytes for change in changes)
    return [(0.0, 0), *zip((change.time_s for change in changes), held, strict=True)]


CURVE_POINTS = 300


def thinned(curve: Sequence[tuple[float, int]], above: int = 0) -> list[tuple[float, int]]:
    """A memory curve as a picture needs it, ``above`` bytes higher: at most CURVE_POINTS points,
    the highest of each stretch kept."""
    stride = max(1, -(-len(curve) // CURVE_POINTS))
    parts = (curve[i : i + stride] for i in range(0, len(curve), stride))
    highest = [max(part, key=lambda point: point[1]) for part in parts]
    return [(time_s, above + held) for time_s, held in highest]


@dataclass(frozen=True)
class OptimizerSteps:
    """One step of all optimizers, as they are and fused, and what it leaves behind."""

    plain: Timing
    fused: Timing
    state_bytes: int


def time_optimizer_steps(
    optimizers: list[torch.optim.Optimizer], clock: Clock = time.perf_counter, repeats: int = 7
) -> OptimizerSteps:
    """Steps of all ``optimizers``, as they are and fused, in turns on copies of everything.

    ``clock`` must wait for the device that the parameters are on.
    """
    plain = [_copy(optimizer) for optimizer in optimizers]
    fused = [_copy(optimizer) for optimizer in optimizers]
    for optimizer in fused:
        FusedOptimizer(optimizer, lambda note: None).apply()
    samples: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for kept, group in zip(samples, (plain, fused), strict=True):
            start = clock()
            for optimizer in group:
                optimizer.step()
            if repeat > 0:  # the first one makes the state
                kept.append(clock() - start)
    return OptimizerSteps(Timing.of(samples[0]), Timing.of(samples[1]), state_bytes(plain))


def _copy(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An optimizer of the same kind and settings, on copies with small gradients."""
    groups = []
    for group in optimizer.param_groups:
        copies = []
        for parameter in group["params"]:
            twin = nn.Parameter(parameter.detach().clone())
            twin.grad = torch.full_like(twin, 1e-3)
            copies.append(twin)
        groups.append({**group, "params": copies})
    kind: Any = type(optimizer)
    twin_optimizer: torch.optim.Optimizer = kind(groups)
    return twin_optimizer


def fits_in_memory(size: int, device: torch.device | str = "cpu") -> bool:
    """Whether ``size`` bytes are at most an eighth of what is free: a host that swaps is worse than
    a missing number. On a GPU half of it: nobody else's memory is at stake."""
    device = torch.device(device)
    if device.type == "cuda":
        return size <= free_bytes(device) // 2
    return size <= int(psutil.virtual_memory().available) // 8


class PeakRss:
    """Peak resident memory of this process since ``reset()``."""

    def __init__(self, proc: str = "/proc/self") -> None:
        self._proc = Path(proc)
        self._is_reset = False

    def reset(self) -> bool:
        """Starts a new peak. False when the kernel refuses, and then ``peak_bytes`` is absent."""
        try:
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            self._is_reset = False
        else:
            self._is_reset = True
        return self._is_reset

    def peak_bytes(self) -> int | None:
        """Bytes, or None when the peak could not be reset or read."""
        if not self._is_reset:
            return None
        try:
            lines = (self._proc / "status").read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # the kernel prints kB and means KiB
        return None


class CpuShare:
    """Share of the cores this process may use that it did use: 1 is all of them, all the time."""

    def __init__(
        self,
        clock: Clock = time.perf_counter,
        cpu_clock: Clock = time.process_time,
        cores: int | None = None,
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._cores = cores or len(os.sched_getaffinity(0))
        self.restart()

    def restart(self) -> None:
        self._wall, self._cpu = self._clock(), self._cpu_clock()

    def share(self) -> float | None:
        """From 0 to 1; None when no time has passed."""
        wall = self._clock() - self._wall
        return (self._cpu_clock() - self._cpu) / wall / self._cores if wall > 0 else None


class StepMonitor:
    """Times the user's own steps: from the first forward to the end of the optimizer's step.

    Two clock reads per step; data loading and validation between steps do not count. ``skip`` first
    steps are left out, since they compile and warm up.
    """

    def __init__(
        self, *, window: int = 32, skip: int = 3, clock: Clock = time.perf_counter
    ) -> None:
        self.steps = 0
        self.samples: deque[float] = deque(maxlen=window)
        self._skip = skip
        self._clock = clock
        self._start: float | None = None
        self._handles: list[Any] = []

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Ends a step whenever this optimizer has stepped."""
        hook = optimizer.register_step_post_hook(lambda *_: self.step_ended())
        self._handles.append(hook)

    def close(self) -> None:
        """Stops watching."""
        while self._handles:
            self._handles.pop().remove()

    def forward_started(self) -> None:
        """To be called when a forward begins. Forwards without gradients are validation."""
        if self._start is None and torch.is_grad_enabled():
            self._start = self._clock()

    def step_ended(self) -> None:
        """To be called when an optimizer step is over."""
        if self._start is None:
            return
        self.steps += 1
        if self.steps > self._skip:
            self.samples.append(self._clock() - self._start)
        self._start = None

    def timing(self) -> Timing | None:
        """Of the last ``window`` steps, None before the first."""
        return Timing.of(list(self.samples)) if self.samples else None

    def slower_than(self, reference: Timing, *, at_least: int = 16, margin: float = 0.02) -> bool:
        """Whether steps are slower than ``reference``, beyond doubt.

        True when even the fast fifth of at least ``at_least`` steps takes ``margin`` longer than
        the reference's slow fifth began at: noise in either alone does not trigger it.
        """
        timing = self.timing()
        if timing is None or timing.n < at_least:
            return False
        return timing.low_s > (1 + margin) * reference.high_s
