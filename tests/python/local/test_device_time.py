"""device_time.py with a device that is made up: what is queued, and when it is waited for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parallel_opt import device_time
from parallel_opt.device_time import FiniteWatch, StepClock, device_of, waiting_clock

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_a_module_is_where_its_first_parameter_is() -> None:
    assert device_of(nn.Linear(1, 1)) == CPU
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.ReLU()) == CPU


def test_the_clock_waits_for_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    assert waiting_clock(CPU, lambda: 3.0)() == 3.0
    assert waited == []
    assert waiting_clock(CUDA, lambda: 4.0)() == 4.0
    assert waited == [CUDA]


class FakeEvent:
    """An event of a queue that counts milliseconds as it is recorded."""

    now_ms = 0.0
    waits = 0

    def record(self, stream: object) -> None:
        assert stream == "the stream of cuda:0"
        self.at_ms = FakeEvent.now_ms

    def synchronize(self) -> None:
        FakeEvent.waits += 1

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at_ms - self.at_ms


def test_moments_of_a_gpu_are_events_and_only_reading_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    clock = StepClock(CUDA, event=FakeEvent)
    begin = clock.mark()
    FakeEvent.now_ms = 250.0
    end = clock.mark()
    assert FakeEvent.waits == 0
    assert clock.seconds(begin, end) == 0.25
    assert FakeEvent.waits == 1


def test_moments_of_a_cpu_are_readings() -> None:
    times = iter((1.0, 3.5))
    clock = StepClock(CPU, clock=lambda: next(times))
    assert clock.seconds(clock.mark(), clock.mark()) == 2.5


def test_memory_that_torch_keeps_unused_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert device_time.free_bytes(CUDA) == 140  # 100 free, 70 - 30 kept


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_first_gradient_that_is_not_finite_is_told_once(bad: float) -> None:
    told: list[int] = []
    watch = FiniteWatch(told.append)
    watch.see(torch.ones(3), 1)
    watch.see(torch.tensor([1.0, bad]), 2)
    watch.see(torch.tensor([bad]), 3)
    watch.poll()
    assert told == [2]
