"""probe.py: what it measures, what it leaves alone, and what it prints."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from parallel_opt import _core, probe
from parallel_opt.engine import allocator
from parallel_opt.probe_kernels import Curve, plan_curves
from parallel_opt.probe_points import Point
from parallel_opt.probe_text import driver_version

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """One tiny probe of the real kernels: every curve still gets its first point, on a machine as
    busy as it may be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "LEAST_OVERTIME_S", float("inf"))
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
    assert told[2] == "pass 1 done, 0 s left"


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


def test_no_kernel_draws_from_the_users_random_numbers() -> None:
    before = torch.get_rng_state()
    for curve in plan_curves(CPU, 1, quick=True):
        curve.points[0].make(CPU)()
        assert torch.equal(torch.get_rng_state(), before), curve.label


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


def test_an_lstms_flops_are_those_of_the_cost_model() -> None:
    sizes = {c.kernel: c.points[0] for c in plan_curves(CPU, 1, quick=True)}
    # 16 samples of 32 steps; per step four gates of 128 from 128 inputs and 128 states
    assert sizes["recurrent"].size == 2 * 16 * 32 * 4 * 128 * (128 + 128)
    assert sizes["recurrent_backward"].size == 2 * sizes["recurrent"].size
    layer = torch.nn.LSTM(128, 128, batch_first=True)
    call = sizes["recurrent"].make(CPU)
    assert call()[0].shape == layer(torch.zeros(16, 32, 128))[0].shape  # type: ignore[index]


def test_an_optimizers_launches_are_those_of_its_loop() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.calls += 1
            return func(*args, **(kwargs or {}))

    points = {c.kernel: c.points[0] for c in plan_curves(CPU, 1, quick=True)}
    single, fused = points["optimizer"], points["optimizer_fused"]
    tensors = fused.calls
    assert single.calls == 9 * tensors
    call = single.make(CPU)
    with Count() as count:
        call()
    views = 2 * tensors  # real and imaginary parts are looked for, and steps are read
    assert single.calls <= count.calls <= single.calls + views
    # 20 passes in 9 kernels, 7 in one
    assert single.calls * single.size == pytest.approx(tensors * 20 * 4 * (1 << 14))
    assert fused.size == 7 * 4 * (1 << 14)
    fused.make(CPU)()


def test_an_embeddings_bytes_are_those_of_the_cost_model() -> None:
    sizes = {c.kernel: c.points[0].size for c in plan_curves(CPU, 1, quick=True)}
    rows, width, table = 512, 64, 4 * 4096 * 64
    # 8-byte indices, rows read and written; backward their gradients read, the table's written
    assert sizes["embedding"] == 8 * rows + 2 * 4 * rows * width
    assert sizes["embedding_backward"] == 8 * rows + 4 * rows * width + table


def test_maxima_are_looked_for_among_values_that_differ() -> None:
    pooling = next(c for c in plan_curves(CPU, 1, quick=True) if c.kernel == "pooling")
    call = pooling.points[0].make(CPU)
    (values, _), (others, _) = call(), call()  # type: ignore[misc]
    assert len(values.unique()) > 100
    assert not torch.equal(values, others)  # the branch may not learn them by heart


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


def test_only_processors_are_probed_for_batch_norms() -> None:
    gpu = {curve.kernel for curve in plan_curves(torch.device("cuda"), 2, quick=False)}
    own = {curve.kernel: curve.points[0] for curve in plan_curves(CPU, 1, quick=True)}
    only = {"batch_norm", "batch_norm_backward"}
    assert only <= own.keys()
    assert not only & gpu
    # Read and written; the backward reads values and gradients.
    assert own["batch_norm"].size == 2 * 4 * (1 << 16)
    assert own["batch_norm_backward"].size == 3 * 4 * (1 << 16)
    out = own["batch_norm"].make(CPU)()
    assert isinstance(out, torch.Tensor)
    assert out.nbytes == 4 * (1 << 16)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(64), atol=1e-5, rtol=0)
    assert [x.shape for x in own["batch_norm_backward"].make(CPU)()] == [out.shape, (64,), (64,)]  # type: ignore[attr-defined]
