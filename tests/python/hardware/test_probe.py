"""probe.py: what it measures, what it leaves alone, and what it prints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from parallel_opt import _core, probe, probe_passes
from parallel_opt.engine import allocator
from parallel_opt.probe_kernels import Curve, Point, plan_curves
from parallel_opt.probe_passes import PASSES, Passes, Sampled
from parallel_opt.probe_text import driver_version
from parallel_opt.probe_timing import steady, time_burst

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """One tiny probe of the real kernels: every curve still gets its first point."""
    return probe.measure(_core.discover().devices[0], budget_s=0.05, quick=True)


def test_the_document_is_a_probe_set_of_this_device(measured: dict[str, Any]) -> None:
    probes = _core.ProbeSet.from_json(json.dumps(measured))
    device = _core.discover().devices[0]
    assert (probes.uuid, probes.device) == (device.uuid, device.name)
    assert probes.software == f"torch {torch.__version__}"
    cluster = _core.merge_probes(_core.discover(), probes)
    _core.check_cluster(cluster)
    assert all(rate.quality == "measured" for rate in probes.rates if rate.threads == 1)
    assert cluster.devices[0].launch_s.quality == "measured"


def test_every_kernel_that_the_cost_model_knows_is_measured(measured: dict[str, Any]) -> None:
    kernels = {(rate["kernel"], rate.get("dtype")) for rate in measured["rates"]}
    for dtype in ("fp32", "bf16"):
        assert ("matmul", dtype) in kernels
        assert ("attention", dtype) in kernels
    assert ("convolution", "fp32") in kernels
    assert ("convolution_channels_last", "bf16") in kernels
    assert {("elementwise", None), ("reduce", None), ("memory", None)} <= kernels
    assert {link["type"] for link in measured["links"]} >= {"shared-memory"}
    # The whole device is always there, whatever its cores.
    assert all(
        any(r["kernel"] == kernel and r["threads"] == 0 for r in measured["rates"])
        for kernel, _ in kernels
    )


def test_progress_names_every_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "plan_curves", lambda *a, **k: plan_curves(*a, **k)[:3])
    told: list[str] = []
    probe.measure(_core.discover().devices[0], budget_s=0.01, quick=True, tell=told.append)
    # One core and all cores take turns on the same operands.
    assert told[:2] == ["matmul fp32 (1 of 2)", "matmul bf16 (2 of 2)"]
    assert told[2].startswith("pass 1 of at most ")


def test_copies_and_transfers_are_curves_of_bytes() -> None:
    kernels = {curve.kernel for curve in plan_curves(CPU, 2, quick=False)}
    assert "copy" in kernels
    assert "host_to_device" not in kernels  # a processor has one memory
    gpu = {curve.kernel: curve for curve in plan_curves(torch.device("cuda"), 2, quick=True)}
    # 2^12 elements of 4 bytes arrive
    assert gpu["host_to_device"].points[0].size == 4 * 4096
    assert gpu["device_to_host"].points[-1].size == 4 * 2**24
    assert gpu["copy"].points[0].size == 8 * 4 * 65536  # read and written


def test_probes_are_filed_by_the_gpus_driver_too(tmp_path: Path) -> None:
    assert driver_version(tmp_path) == ""
    amd = tmp_path / "sys/module/amdgpu/version"
    amd.parent.mkdir(parents=True)
    amd.write_text("6.10.5\n")
    assert driver_version(tmp_path) == "6.10.5"
    nvidia = tmp_path / "proc/driver/nvidia/version"
    nvidia.parent.mkdir(parents=True)
    nvidia.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu\n")
    assert driver_version(tmp_path) == "570.86.15"
    nvidia.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build\n"
    )
    assert driver_version(tmp_path) == "580.159.04"


@pytest.fixture
def _two_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what does not depend on the kernels."""
    monkeypatch.setattr(probe, "plan_curves", lambda *a, **k: plan_curves(*a, **k)[:2])


@pytest.mark.usefixtures("_two_curves")
def test_probing_leaves_no_trace_in_torch() -> None:
    device = _core.discover().devices[0]
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        probe.measure(device, budget_s=0.01, quick=True)
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_memory_is_kept_only_while_calls_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    make = lambda _: lambda: kept.append(allocator.is_kept())  # noqa: E731
    curve = Curve("matmul", "fp32", 1, 1, (Point(1.0, make),))
    monkeypatch.setattr(probe, "plan_curves", lambda *a, **k: [curve])
    probe.measure(_core.discover().devices[0], budget_s=0.01, quick=True)
    assert all(kept)
    assert not allocator.is_kept()


def test_a_quick_plan_is_a_part_of_the_full_one() -> None:
    def size(quick: bool) -> int:
        return sum(len(curve.points) for curve in plan_curves(CPU, 4, quick=quick))

    assert size(quick=True) < size(quick=False) / 2
    threads = {curve.threads for curve in plan_curves(CPU, 4, quick=True)}
    assert threads == {1, 4}
    assert {curve.threads for curve in plan_curves(CPU, 1, quick=True)} == {1}


def test_sizes_rise_along_every_curve() -> None:
    for device in (CPU, torch.device("cuda")):
        for quick in (True, False):
            for curve in plan_curves(device, 2, quick=quick):
                sizes = [point.size for point in curve.points]
                assert sizes == sorted(set(sizes)), curve.label


def test_flops_are_those_of_the_flop_counter() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    checked = set()
    for curve in plan_curves(CPU, 1, quick=True):
        # Attention on a CPU is no operator that the counter knows.
        if curve.kernel not in ("matmul", "convolution", "convolution_backward"):
            continue
        call = curve.points[0].make(CPU)
        with FlopCounterMode(display=False) as counter:
            call()
        point = curve.points[0]
        assert counter.get_total_flops() == point.calls * point.size, curve.label
        checked.add(curve.kernel)
    assert checked == {"matmul", "convolution", "convolution_backward"}


def test_attention_counts_two_products_forward_and_five_backward() -> None:
    sizes = {c.kernel: c.points[0].size for c in plan_curves(CPU, 1, quick=True)}
    # batch 4, 4 heads, 128 x 128 scores of width 64, 2 FLOPs per multiply-add
    assert sizes["attention"] == 2 * 2 * 4 * 4 * 128 * 128 * 64
    assert sizes["attention_backward"] == 5 * 2 * 4 * 4 * 128 * 128 * 64


def test_an_embeddings_bytes_are_those_of_the_cost_model() -> None:
    sizes = {c.kernel: c.points[0].size for c in plan_curves(CPU, 1, quick=True)}
    rows, width, table = 512, 64, 4 * 4096 * 64
    # 8-byte indices, rows read and written; backward their gradients read, the table's written
    assert sizes["embedding"] == 8 * rows + 2 * 4 * rows * width
    assert sizes["embedding_backward"] == 8 * rows + 4 * rows * width + table


def test_maxima_are_looked_for_among_values_that_differ() -> None:
    pooling = next(c for c in plan_curves(CPU, 1, quick=True) if c.kernel == "pooling")
    values, _ = pooling.points[0].make(CPU)()  # type: ignore[misc]
    assert len(values.unique()) > 100


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


def test_the_middle_of_a_burst_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    # Thrown away, then 10, 12, 30: half a second is over.
    call = clock.takes(0.460, 0.010, 0.012, 0.030)
    assert time_burst(call, 0.5, lambda: None) == pytest.approx(0.012)


def test_the_quietest_burst_counts() -> None:
    assert steady([0.5, 0.1, 0.3, 0.2, 0.9]) == 0.1
    assert steady([0.7]) == 0.7


def test_a_slow_call_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(monkeypatch)
    assert time_burst(clock.takes(2.0), 0.5, lambda: None) == 2.0
    assert clock.now == 4.0  # the lost call and one more
    assert time_burst(clock.takes(3.0), 0.5, lambda: None, warm=True) == 3.0
    assert clock.now == 7.0  # its code has run before: not even one is lost


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

    # Somebody else has the machine in the first two passes of a.
    a, b = point("a", 0.09, 0.08, 0.01), point("b", 0.02)
    curves = [_curve(1, (a,)), _curve(1, (b,), "bf16")]
    between: list[int] = []
    passes = Passes(CPU, lambda: 100.0 - clock.now, [])
    found = passes.run(curves, lambda: between.append(len(order)))
    assert order == ["a", "b"] * PASSES
    assert between == [2 * i for i in range(PASSES)]
    assert found[0].bursts[0] == pytest.approx([0.09, 0.08] + [0.01] * (PASSES - 2))
    assert found[0].rates() == pytest.approx({1.0: 100.0})
    assert found[1].spread() == pytest.approx(0.0)


def test_the_spread_of_a_curve_is_that_of_its_middle_point() -> None:
    points = tuple(Point(10.0**i, lambda _: lambda: None) for i in range(3))
    # (0.75 quantile - 0.25 quantile) / median: 0; (3.25 - 1.75) / 2.5; (4 - 2) / 3
    bursts = [[1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert Sampled(_curve(1, points), 3, bursts).spread() == pytest.approx(0.6)
    assert Sampled(_curve(1, points), 3).spread() == 0.0


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


def test_cached_asks_for_this_torch_and_a_quiet_machine(measured: dict[str, Any]) -> None:
    assert not probe.cached()
    assert probe.store([measured | {"busy": True}]) == measured["notes"]
    assert probe.cached()  # those who disturbed it are likely still there
    for file in Path(_core.probe_directory()).glob("*.json"):
        os.utime(file, (time.time() - probe.BUSY_SERVES_S - 1,) * 2)
    assert not probe.cached()
    probe.store([measured | {"busy": False}])
    assert probe.cached()


def test_an_unwritable_cache_is_told_and_does_not_stop(
    measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", "/proc/nowhere")
    notes = probe.store([measured])
    assert notes[-1].startswith("probe: not kept for later runs: /proc/nowhere")


@pytest.mark.usefixtures("_two_curves")
def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str], _cache: Path) -> None:
    assert probe.main(["--json", "--quick", "--budget", "0.01"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert next(iter(document.items())) == ("schema", "parallel-opt/probe/1")
    _core.ProbeReport.from_json(json.dumps(document))
    assert len(list((_cache / "probes").iterdir())) == len(document["sets"]) == 1


@pytest.mark.usefixtures("_two_curves")
def test_the_command_for_one_device_keeps_the_affinity_and_the_cache(
    capsys: pytest.CaptureFixture[str], _cache: Path
) -> None:
    device = _core.discover().devices[0]
    affinity = os.sched_getaffinity(0)
    arguments = ["--quick", "--budget", "0.01", "--no-store", "--uuid", device.uuid]
    assert probe.main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{device.name}: torch ")
    assert os.sched_getaffinity(0) == affinity
    assert not (_cache / "probes").exists()


def test_wrong_arguments_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--budget", "0"], ["--uuid", "cpu-none"], ["--nonsense"]):
        with pytest.raises(SystemExit) as stop:
            probe.main(arguments)
        assert stop.value.code == 2
    assert "--uuid cpu-none: no such device here" in capsys.readouterr().err
