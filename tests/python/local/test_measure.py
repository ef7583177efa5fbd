"""Measured numbers are exact where they can be, and absent where they cannot."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from local_models import ConvNet, Mlp

from parallel_opt import compat
from parallel_opt.measure import (
    CpuShare,
    PeakRss,
    Ratio,
    StepMonitor,
    Timing,
    cpu_memory_curve,
    resident_bytes,
    time_optimizer_steps,
    transient_peak_bytes,
)


def test_timing_quantiles_interpolate() -> None:
    # 0..10 sorted: median 5, 20 % at 2, 80 % at 8
    assert Timing.of([float(x) for x in reversed(range(11))]) == Timing(5.0, 2.0, 8.0, 11)
    # two samples: 1 + 0.2 * 2, 1 + 0.5 * 2, 1 + 0.8 * 2
    two = Timing.of([3.0, 1.0])
    assert (two.low_s, two.median_s, two.high_s) == pytest.approx((1.4, 2.0, 2.6))


def test_a_ratio_pairs_what_was_measured_side_by_side() -> None:
    # The machine got three times slower after the first pair: each pair still says 2.
    assert Ratio.of([2.0, 6.0, 6.0], [1.0, 3.0]) == Ratio(2.0, 2.0, 2.0, 2)


def test_transient_peak_is_the_most_held_at_one_time() -> None:
    def run() -> None:
        a = torch.empty(1000, dtype=torch.float32)
        b = a + a  # 8000 held
        del a
        c = b + b  # 8000 again
        del b, c
        torch.empty(500, dtype=torch.float64)  # 4000

    assert transient_peak_bytes(run) == 8000


def test_both_profilers_count_the_same(monkeypatch: pytest.MonkeyPatch, mlp: Mlp) -> None:
    x = torch.randn(32, 8)

    def run() -> None:
        torch.autograd.grad(mlp(x).sum(), list(mlp.parameters()))

    quick = transient_peak_bytes(run)
    monkeypatch.setattr(compat, "cpu_allocations", compat._kineto_allocations)
    monkeypatch.delattr(torch._C._autograd, "_enable_profiler_legacy")
    assert transient_peak_bytes(run) == quick > 0


def test_gradients_of_a_backward_are_left_in_bytes(mlp: Mlp) -> None:
    changes = compat.cpu_allocations(lambda: mlp(torch.ones(2, 8)).sum().backward())
    assert sum(change.bytes for change in changes) == sum(p.numel() * 4 for p in mlp.parameters())


def test_the_memory_curve_has_times_that_rise_within_the_run() -> None:
    def run() -> None:
        a = torch.empty(1000)
        b = torch.empty(500)
        del a, b

    start = perf_counter()
    curve = cpu_memory_curve(run)
    wall_s = perf_counter() - start
    assert [held for _, held in curve] == [0, 4000, 6000, 2000, 0]
    times = [time_s for time_s, _ in curve]
    assert times == sorted(times)
    assert 0 < times[1] < times[-1] < wall_s


def test_resident_bytes_counts_shared_storage_once(conv_net: ConvNet) -> None:
    parameters = sum(p.numel() for p in conv_net.parameters()) * 4
    buffers = 2 * 8 * 4 + 8  # mean, variance, counter
    assert resident_bytes(conv_net) == parameters + buffers
    conv_net.alias = conv_net.head.weight  # type: ignore[assignment]
    assert resident_bytes(conv_net) == parameters + buffers
    optimizer = torch.optim.AdamW(conv_net.parameters())
    conv_net(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    # + gradients, two moments, one fp32 counter per parameter
    extra = 3 * parameters + 4 * len(list(conv_net.parameters()))
    assert resident_bytes(conv_net, [optimizer]) == parameters + buffers + extra


def test_optimizer_steps_are_timed_on_copies(mlp: Mlp) -> None:
    optimizer = torch.optim.SGD(mlp.parameters(), lr=0.1, momentum=0.9)
    before = [p.clone() for p in mlp.parameters()]
    ticks = count()
    steps = time_optimizer_steps([optimizer], clock=lambda: float(next(ticks)), repeats=3)
    assert steps.plain == steps.fused == Timing(1.0, 1.0, 1.0, 3)
    # momentum: one number per parameter, made in the first step
    assert steps.state_bytes == sum(p.nbytes for p in mlp.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, mlp.parameters(), strict=True))
    assert not optimizer.state
    assert optimizer.param_groups[0]["fused"] is None


def test_peak_rss_reads_the_kernels_number(tmp_path: Path) -> None:
    (tmp_path / "clear_refs").write_text("")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
    peak = PeakRss(str(tmp_path))
    assert peak.peak_bytes() is None  # never reset: it would be the peak of something else
    assert peak.reset()
    assert (tmp_path / "clear_refs").read_text() == "5"
    assert peak.peak_bytes() == 2048 * 1024


def test_peak_rss_is_absent_without_permission(tmp_path: Path) -> None:
    peak = PeakRss(str(tmp_path / "nowhere"))
    assert not peak.reset()
    assert peak.peak_bytes() is None


def test_cpu_share_is_cpu_time_over_wall_time_and_cores() -> None:
    wall, cpu = iter([10.0, 14.0, 14.0]), iter([1.0, 7.0])
    share = CpuShare(lambda: next(wall), lambda: next(cpu), cores=2)
    assert share.share() == 0.75  # 6 s of CPU in 4 s on 2 cores


def test_cpu_share_of_no_time_is_absent() -> None:
    assert CpuShare(lambda: 1.0, lambda: 1.0, cores=1).share() is None


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run_steps(monitor: StepMonitor, clock: FakeClock, seconds: list[float]) -> None:
    for duration in seconds:
        clock.now += 5.0  # data loading
        monitor.forward_started()
        clock.now += duration
        monitor.forward_started()  # a second forward belongs to the same step
        monitor.step_ended()


def test_the_monitor_times_from_first_forward_to_step_and_skips_warm_up() -> None:
    clock = FakeClock()
    monitor = StepMonitor(clock=clock, skip=2)
    run_steps(monitor, clock, [9.0, 9.0, 1.0, 2.0, 3.0])
    timing = monitor.timing()
    assert timing is not None
    assert (timing.median_s, timing.n, monitor.steps) == (2.0, 3, 5)


def test_the_monitor_ignores_validation_and_stray_steps() -> None:
    clock = FakeClock()
    monitor = StepMonitor(clock=clock, skip=0)
    with torch.no_grad():
        monitor.forward_started()
    monitor.step_ended()
    assert monitor.timing() is None


@pytest.mark.parametrize(
    ("seconds", "slower"),
    [
        ([1.0] * 20, False),
        ([1.2] * 20, True),
        ([1.2] * 15, False),  # too few
        ([1.0] * 5 + [1.5] * 15, False),  # the fast fifth is not slower
        ([1.05] * 20, False),  # within reference noise and margin
    ],
)
def test_slower_than_needs_proof(seconds: list[float], slower: bool) -> None:
    clock = FakeClock()
    monitor = StepMonitor(clock=clock, skip=0)
    run_steps(monitor, clock, seconds)
    assert monitor.slower_than(Timing(1.0, 0.95, 1.05, 9)) is slower


def test_watching_an_optimizer_ends_steps_until_closed(mlp: Mlp) -> None:
    monitor = StepMonitor(skip=0)
    optimizer: Any = torch.optim.SGD(mlp.parameters(), lr=0.1)
    monitor.watch(optimizer)
    monitor.forward_started()
    optimizer.step()
    assert monitor.steps == 1
    monitor.close()
    monitor.forward_started()
    optimizer.step()
    assert monitor.steps == 1
