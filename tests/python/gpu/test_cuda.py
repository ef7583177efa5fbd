"""What only a real NVIDIA GPU can show: its driver, its kernels, its energy counter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import parallel_opt
from parallel_opt import OptimizedParallel, _core, probe
from parallel_opt.device_time import FiniteWatch, StepClock
from parallel_opt.engine.verify import CHECKED_AFTER
from parallel_opt.machine import training_cluster
from parallel_opt.measure import transient_peak_bytes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_CACHE", str(tmp_path))


def gpu_of(cluster: _core.Cluster) -> _core.Device:
    return next(d for d in cluster.devices if probe_sees(d))


def probe_sees(device: _core.Device) -> bool:
    return device.kind == "gpu" and probe.torch_device(device) == CUDA


def test_the_driver_and_torch_tell_of_the_same_device() -> None:
    cluster = _core.discover()
    device = gpu_of(cluster)
    properties = torch.cuda.get_device_properties(CUDA)
    assert str(properties.uuid) in device.uuid
    # The driver counts what it keeps for itself; torch does not.
    assert properties.total_memory <= device.memory_bytes.value <= 1.05 * properties.total_memory
    assert device.power is not None
    assert 0 < device.power.idle_w.value < device.power.max_w.value
    index = cluster.devices.index(device)
    assert any(index in (link.a, link.b) for link in cluster.links)  # the host reaches it
    _core.check_cluster(cluster)


def test_a_data_centre_gpu_is_in_the_database() -> None:
    device = gpu_of(_core.discover())
    if "H100" not in device.name and "H200" not in device.name and "A100" not in device.name:
        pytest.skip(f"{device.name} is no data-centre GPU that this test knows")
    rates = {(r.kernel, r.dtype): r for r in device.rates}
    assert rates["matmul", "bf16"].quality in ("database", "calibrated")


def test_a_probe_measures_the_gpus_kernels() -> None:
    device = gpu_of(_core.discover())
    probes = _core.ProbeSet.from_json(json.dumps(probe.measure(device, budget_s=1.0, quick=True)))
    rates = {(r.kernel, r.dtype): r.points[-1].per_s for r in probes.rates}
    assert rates["matmul", "bf16"] > 2 * rates["matmul", "fp32"]  # tensor cores
    assert {("host_to_device", None), ("device_to_host", None), ("copy", None)} <= set(rates)
    assert rates["copy", None] > 5 * rates["host_to_device", None]  # its own memory, not PCIe
    cluster = _core.merge_probes(_core.discover(), probes)
    _core.check_cluster(cluster)
    assert gpu_of(cluster).launch_s.quality == "measured"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
        self.norm = nn.LayerNorm(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + functional.gelu(layer(self.norm(x)))
        return x


TRIALS_S = 10.0  # a compilation that begins within may take longer


def train(
    wrap: Callable[[nn.Module], nn.Module], device: torch.device, steps: int
) -> tuple[list[float], nn.Module]:
    torch.manual_seed(0)
    model = wrap(Net().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(16, 64, generator=generator).to(device)
        loss = (model(x) - x.flip(-1)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, model


def optimized(model: nn.Module) -> nn.Module:
    return OptimizedParallel(
        model, precision="fp32", probe_budget_s=TRIALS_S, expected_steps=10_000
    )


def untried(model: nn.Module) -> nn.Module:
    """By prediction alone: trials and compilation on the host's cores take longer than all else in
    this file."""
    return OptimizedParallel(model, precision="fp32", probe_budget_s=0.0, compile=False)


def test_the_wrapper_trains_as_plain_does_on_the_gpu() -> None:
    steps = CHECKED_AFTER + 4  # until the plan has been checked against plain, and on
    plain, _ = train(lambda model: model, CUDA, steps)
    ours, model = train(optimized, CUDA, steps)
    assert ours == pytest.approx(plain, rel=1e-4)
    assert isinstance(model, OptimizedParallel)
    cluster = model.__dict__["_po_session"].cluster
    assert [cluster.devices[p.device].kind for p in model.plan.placements] == ["gpu"]
    measured = model.__dict__["_po_engine"].recorder.step_times()
    assert measured
    assert all(seconds > 0 for seconds in measured)


def test_a_model_on_the_cpu_is_planned_for_the_cpu() -> None:
    _, model = train(untried, torch.device("cpu"), 1)
    cluster = training_cluster("local", kind="cpu")[0]
    assert {d.kind for d in cluster.devices} == {"cpu", "gpu"}
    assert isinstance(model, OptimizedParallel)
    assert {cluster.devices[p.device].kind for p in model.plan.placements} == {"cpu"}


def test_the_energy_of_a_load_is_metered_by_the_driver() -> None:
    a = torch.randn(4096, 4096, device=CUDA, dtype=torch.bfloat16)
    clock = StepClock(CUDA)
    with parallel_opt.energy() as reading:
        begin = clock.mark()
        for _ in range(1000):
            a @ a
        seconds = clock.seconds(begin, clock.mark())
    parts = [d for d in reading.devices if d.source in ("nvml counter", "nvml power")]
    assert parts
    device = gpu_of(_core.discover())
    assert device.power is not None
    joules = sum(part.energy_j.high for part in parts)
    assert joules >= device.power.idle_w.low * seconds


def test_memory_of_a_run_is_the_allocators_peak() -> None:
    def run() -> None:
        kept = torch.empty(3 * 2**20, dtype=torch.uint8, device=CUDA)
        del kept
        torch.empty(2 * 2**20, dtype=torch.uint8, device=CUDA)

    assert transient_peak_bytes(run, CUDA) == 3 * 2**20


def test_a_gradient_that_is_not_finite_is_told_without_waiting() -> None:
    told: list[int] = []
    watch = FiniteWatch(told.append)
    watch.see(torch.ones(4, device=CUDA), 1)
    watch.see(torch.tensor([1.0, float("nan")], device=CUDA), 2)
    torch.cuda.synchronize()
    watch.poll()
    assert told == [2]
