"""probe_passes.py and probe_timing.py: which bursts of which points count. No clock runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
import torch

from parallel_opt import probe, probe_passes
from parallel_opt.probe_kernels import Curve
from parallel_opt.probe_passes import MOST_PASSES, PASSES, Burst, Passes, Sampled
from parallel_opt.probe_points import Point
from parallel_opt.probe_timing import spread, steady, time_burst, time_rounds
from parallel_opt.run_queue import Watch

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else uses this machine, no test waits for a core."""
    monkeypatch.setattr(Watch, "was_alone", lambda self, threads: True)


class _Clock:
    """time.perf_counter that moves only when a call under test says how long it took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(probe.time, "perf_counter", lambda: self.now)

    def takes(self, *seconds: float) -> Callable[[], None]:
        times = iter(seconds)
        last = seconds[-1]

        def call() -> None:
            self.now += next(times, last)

        return call


def test_the_lower_quartile_of_a_burst_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    # Thrown away, then 10, 12, 30: half a second is over. A quarter of the way from 10 to 30.
    call = clock.takes(0.460, 0.010, 0.012, 0.030)
    assert time_burst(call, 0.5, lambda: None) == pytest.approx(0.011)


def test_the_burst_in_the_middle_counts() -> None:
    assert steady([0.5, 0.1, 0.3, 0.2, 0.9]) == 0.3
    assert steady([0.1, 0.5]) == pytest.approx(0.3)
    assert steady([0.7]) == 0.7


def test_a_slow_call_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    assert time_burst(clock.takes(2.0), 0.5, lambda: None) == 2.0
    assert clock.now == 4.0  # the lost call and one more
    assert time_rounds(clock.takes(3.0), 0.5, lambda: None, warm=True) == [3.0]
    assert clock.now == 7.0  # its code has run before: not even one is lost


def test_what_runs_before_a_round_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    order: list[str] = []

    def product() -> None:
        order.append("product")
        clock.now += 0.1

    def call() -> None:
        order.append("call")
        clock.now += 1e-6

    rounds = time_rounds(call, 0.45, lambda: None, before=product)
    assert rounds == pytest.approx([1e-6] * len(rounds))
    # Thrown away, told how long it takes, and then few calls behind each product.
    assert order == ["call"] * 2 + (["product"] + ["call"] * 3) * 5


def test_kernels_bound_by_memory_are_timed_behind_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind: dict[str, bool] = {}

    for kernel in ("matmul", "convolution_backward", "elementwise", "optimizer", "copy"):

        def rounds(*_: object, name: str = kernel, **options: object) -> list[float]:
            behind[name] = options["before"] is not None
            return [0.01]

        monkeypatch.setattr(probe_passes, "time_rounds", rounds)
        curve = Curve(kernel, None, 1, 1, (Point(1.0, lambda _: lambda: None),))
        Passes(CPU, lambda: 1.0, []).run([curve], lambda: None)
    assert behind == {
        "matmul": False,
        "convolution_backward": False,
        "elementwise": True,
        "optimizer": True,
        "copy": True,
    }


def _curve(threads: int, points: tuple[Point, ...], dtype: str = "fp32") -> Curve:
    return Curve("matmul", dtype, threads, 2, points)


def _points(clock: _Clock, *seconds: float) -> tuple[Point, ...]:
    """Points of 1, 10, 100, ... FLOPs that take the given seconds."""
    return tuple(
        Point(10.0**i, lambda _, s=s: clock.takes(s))  # type: ignore[misc]
        for i, s in enumerate(seconds)
    )


def test_a_points_bursts_lie_a_pass_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    order: list[str] = []

    def point(name: str, *seconds: float) -> Point:
        def make(_: torch.device) -> Callable[[], None]:
            order.append(name)
            return clock.takes(seconds[min(order.count(name), len(seconds)) - 1])

        return Point(1.0, make)

    # Somebody else has the machine in the first two passes of a, and in the fifth.
    a, b = point("a", 0.09, 0.08, 0.01, 0.01, 0.05, 0.01), point("b", 0.02)
    curves = [_curve(1, (a,)), _curve(1, (b,), "bf16")]
    between: list[int] = []
    passes = Passes(CPU, lambda: 100.0 - clock.now, [])
    found = passes.run(curves, lambda: between.append(len(order)))
    # Three bursts of b agree: it is visited in every third pass. Three of a do after the sixth.
    unsettled, settled = ["a", "b"], ["a"]
    first = unsettled * 3 + unsettled + settled * 2  # passes 0 to 5
    assert order == first + unsettled + unsettled  # 6 and 9: nothing is left to settle
    assert len(between) == PASSES
    seconds = [burst.seconds for burst in found[0].bursts[0]]
    assert seconds == pytest.approx([0.09, 0.08, 0.01, 0.01, 0.05, 0.01, 0.01, 0.01])
    assert found[0].rates() == pytest.approx({1.0: 100.0})
    assert found[1].spread() == pytest.approx(0.0)


def test_points_that_do_not_settle_have_what_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)

    visits = count(1)

    def noisy(_: torch.device) -> Callable[[], None]:
        return clock.takes(1 / next(visits))  # quieter and quieter

    calm = _points(clock, 0.01)
    curves = [_curve(1, (Point(1.0, noisy),)), _curve(1, calm, "bf16")]
    found = Passes(CPU, lambda: 1000.0 - clock.now, []).run(curves, lambda: None)
    assert len(found[0].bursts[0]) == MOST_PASSES
    assert len(found[1].bursts[0]) == 3 + (MOST_PASSES - 3) // 3  # then every third pass


def test_the_spread_of_a_curve_is_that_of_its_middle_point() -> None:
    points = tuple(Point(10.0**i, lambda _: lambda: None) for i in range(3))
    # (0.75 quantile - 0.25 quantile) / median: 0; (3.25 - 1.75) / 2.5; (4 - 2) / 3
    bursts = [[1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    quiet = lambda *lists: [[Burst(s, alone=True) for s in one] for one in lists]  # noqa: E731
    assert Sampled(_curve(1, points), 3, quiet(*bursts)).spread() == pytest.approx(0.6)
    assert Sampled(_curve(1, points), 3).spread() is None
    # A point that was met once says nothing of the scatter, and leaves the others their say.
    assert Sampled(_curve(1, points), 3, quiet([1.0], bursts[1])).spread() == spread(bursts[1])
    assert Sampled(_curve(1, points), 3, quiet([1.0], [2.0])).spread() is None


def test_bursts_that_waited_for_a_core_count_where_there_are_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    # Somebody has the cores in every pass but the third and the fifth of the first point.
    alone = iter([False, False, True, False, True])
    monkeypatch.setattr(Watch, "was_alone", lambda self, threads: next(alone, False))
    slow = iter([0.09, 0.03, 0.02, 0.08, 0.04])
    point = Point(1.0, lambda _: clock.takes(next(slow, 0.01)))
    one = Passes(CPU, lambda: 1.0 - clock.now, []).run([_curve(1, (point,))], lambda: None)[0]
    assert one.counted(0) == pytest.approx([0.02, 0.04])
    assert one.rates() == pytest.approx({1.0: 1 / 0.03})
    assert not one.disturbed()
    # Of those that were all disturbed, the quickest, and the curve is told to be.
    loud = [[Burst(0.5, alone=False), Burst(0.3, alone=False)]]
    never = Sampled(one.curve, 1, loud)
    assert never.seconds(0) == 0.3
    assert never.disturbed()
    assert never.spread() is None


def test_sizes_that_would_eat_the_budget_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    prober = probe.Prober(CPU, 6.0, 0.0)
    found = prober.rates([_curve(1, _points(clock, 0.1, 1.0, 10.0, 100.0))])
    assert [point["size"] for point in found[0]["points"]] == [1.0, 10.0]
    assert found[0]["points"][1]["per_s"] == pytest.approx(10.0)
    assert prober.notes == []


def test_a_machine_too_busy_for_its_curves_ends_the_probe_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    prober = probe.Prober(CPU, 1.0, 0.0)
    # A call takes 6 s: three of them (to warm up, to time, a round) end the overtime of 8 s.
    curves = [_curve(1, _points(clock, 6.0)), _curve(1, _points(clock, 6.0), "bf16")]
    found = prober.rates(curves)
    assert [curve["dtype"] for curve in found] == ["fp32"]
    told = "probe: no time was left for matmul bf16: data sheets stand for them"
    assert told in prober.notes
    assert prober.disturbed(9)


def test_cheap_sizes_on_a_gpu_are_measured_when_the_time_is_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    monkeypatch.setattr(
        probe_passes,
        "time_queued",
        lambda call, budget_s, _: time_burst(call, budget_s, lambda: None),
    )
    prober = probe.Prober(torch.device("cuda", 0), 0.0, 0.0)
    # 1 FLOP in 0.1 ms: 10 should take 1 ms and are cheap, 100 should take 10 ms.
    found = prober.rates([_curve(0, _points(clock, 1e-4, 1e-3, 1e-2))])
    assert [point["size"] for point in found[0]["points"]] == [1.0, 10.0]


def test_cores_that_others_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    prober = probe.Prober(CPU, 100.0, 0.0)
    seconds = {1: (0.1, 0.2), 2: (0.05, 0.5)}

    def point(index: int) -> Point:
        def call() -> None:
            clock.now += seconds[torch.get_num_threads()][index]

        return Point(10.0**index, lambda _: call)

    points = (point(0), point(1))  # the same operands for both numbers of threads
    one, all_cores = prober.rates([_curve(1, points), _curve(2, points)])
    assert [curve.threads for curve in prober.busy] == [2]
    assert (one["threads"], one["quality"]) == (1, "measured")
    assert (all_cores["threads"], all_cores["quality"]) == (0, "assumed")
    # All cores do at least what one does: 1 FLOP in 0.05 s was faster, 10 in 0.5 s was not.
    assert [point["per_s"] for point in all_cores["points"]] == pytest.approx([20.0, 50.0])
    assert prober.notes[0].startswith("probe: the machine was busy (load ")
    assert prober.notes[0].endswith("matmul scattered")
    assert prober.disturbed(2)


def test_small_sizes_of_all_cores_count_where_nobody_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = _Clock(monkeypatch)
    seconds = {1: (0.1, 0.2), 2: (0.4, 0.15)}  # the small one alone is slower on all cores

    def point(index: int) -> Point:
        def call() -> None:
            clock.now += seconds[torch.get_num_threads()][index]

        return Point(10.0**index, lambda _: call)

    curves = [_curve(1, (point(0), point(1))), _curve(2, (point(0), point(1)))]
    in_peace = probe.Prober(CPU, 100.0, 0.0).rates(curves)[1]
    assert in_peace["quality"] == "measured"
    assert in_peace["points"][0]["per_s"] == pytest.approx(2.5)
    monkeypatch.setattr(Watch, "was_alone", lambda self, threads: False)
    disturbed = probe.Prober(CPU, 100.0, clock.now).rates(curves)[1]
    assert disturbed["quality"] == "assumed"
    assert disturbed["points"][0]["per_s"] == pytest.approx(10.0)  # what one core does


def test_a_few_curves_that_scatter_do_not_spoil_a_probe() -> None:
    prober = probe.Prober(CPU, 1.0)
    prober.busy = [_curve(1, ())] * 3
    assert not prober.disturbed(9)  # a third of them
    assert prober.disturbed(8)


def test_fp16_that_is_slow_gets_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    prober = probe.Prober(CPU, 100.0, 0.0)
    fast, slow = _points(clock, 0.1, 0.2), _points(clock, 0.9, 0.9)
    found = prober.rates([_curve(1, fast), _curve(1, slow, "fp16")])
    assert [len(curve["points"]) for curve in found] == [2, 1]


def test_a_kernel_that_torch_lacks_is_told() -> None:
    def refuse(_: torch.device) -> Callable[[], object]:
        raise RuntimeError("not implemented for 'Half'\nsecond line")

    prober = probe.Prober(CPU, 1.0)
    assert prober.rates([_curve(1, (Point(1.0, refuse),), "fp16")]) == []
    assert prober.notes == ["probe: matmul fp16 does not run here: not implemented for 'Half'"]
