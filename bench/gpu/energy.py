"""Question: do a GPU's energy counter and integrated power agree, and what does metering cost?

    python bench/gpu/energy.py load SECONDS       keeps the GPU busy with bf16 products
    python bench/gpu/energy.py compare OUTPUT.json

`compare` meters the same load three ways at once (the energy counter through parallel_opt, NVML's
counter and NVML's power read every 20 ms through NVIDIA's own Python package), then the idle GPU,
then what an open window costs in steps. The load is meant to be metered by `parallel-opt energy`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pynvml  # type: ignore[import-untyped]
import torch

import parallel_opt

N = 8192
INSTANT, AVERAGE = 186, 185  # NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE


class Watch(threading.Thread):
    """Integrates NVML's powers by trapezoid."""

    def __init__(self, handle: Any, period_s: float = 0.02) -> None:
        super().__init__(daemon=True)
        self.handle, self.period_s = handle, period_s
        self.samples: list[tuple[float, float, float]] = []
        self.over = threading.Event()

    def read(self) -> None:
        fields = pynvml.nvmlDeviceGetFieldValues(self.handle, [INSTANT, AVERAGE])
        watts = [field.value.uiVal * 1e-3 for field in fields]
        self.samples.append((time.perf_counter(), watts[0], watts[1]))

    def run(self) -> None:
        while not self.over.is_set():
            self.read()
            time.sleep(self.period_s)
        self.read()

    def joules(self, column: int) -> float:
        pairs = pairwise(self.samples)
        return sum((b[0] - a[0]) * (a[column] + b[column]) / 2 for a, b in pairs)


def load(seconds: float) -> float:
    """Products until so many seconds are over; returns FLOPs done."""
    a, b = (torch.randn(N, N, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    torch.cuda.synchronize()
    begin, done = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        for _ in range(20):
            a @ b
        torch.cuda.synchronize()
        done += 20
    return done * 2.0 * N**3


def window(handle: Any, work: Any) -> dict[str, Any]:
    watch = Watch(handle)
    start_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    start = time.perf_counter()
    watch.start()
    with parallel_opt.energy() as reading:
        flops = work()
    watch.over.set()
    watch.join()
    seconds = time.perf_counter() - start
    counted = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - start_mj) * 1e-3
    part = next(d for d in reading.devices if d.source.startswith("nvml"))
    return {
        "seconds": seconds,
        "window_s": reading.window_s,
        "tflops": flops / seconds / 1e12,
        "parallel_opt_j": part.energy_j.value,
        "parallel_opt_half_width_j": (part.energy_j.high - part.energy_j.low) / 2,
        "parallel_opt_source": part.source,
        "reading_quality": reading.quality,
        "reading": json.loads(reading.reading.to_json()),
        "nvml_counter_j": counted,
        "instant_power_j": watch.joules(1),
        "average_power_j": watch.joules(2),
        "samples": len(watch.samples),
    }


def counter_steps(handle: Any) -> dict[str, float]:
    """How the counter moves, watched for a second."""
    moves, last = [], pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    begin = time.perf_counter()
    calls = 0
    while time.perf_counter() - begin < 1.0:
        now = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        calls += 1
        if now != last:
            moves.append(time.perf_counter())
            last = now
    gaps = [b - a for a, b in pairwise(moves)]
    return {"step_s": median(gaps) if gaps else 0.0, "read_s": 1.0 / max(1, calls)}


def overhead() -> dict[str, float]:
    """Time of a launch-bound round with and without an open window, taking turns."""
    x = torch.randn(1024, 1024, device="cuda")

    def round_s() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(20_000):
            x.mul_(1.0)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    meter = parallel_opt.energy()
    plain, metered = [], []
    for _ in range(8):
        plain.append(round_s())
        with meter:
            metered.append(round_s())
    return {"plain_s": median(plain), "metered_s": median(metered)}


def compare(output: str) -> None:
    pynvml.nvmlInit()
    uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    load(2.0)
    found = {
        "device": torch.cuda.get_device_name(),
        "load": window(handle, lambda: load(10.0)),
        "counter": counter_steps(handle),
        "overhead": overhead(),
    }
    time.sleep(4.0)  # clocks and fans come down
    found["idle"] = window(handle, lambda: time.sleep(5.0) or 0.0)
    Path(output).write_text(json.dumps(found, indent=1))
    for name in ("load", "idle"):
        one = found[name]
        told = [f"{key} {one[key]:.1f}" for key in one if key.endswith("_j") or key == "tflops"]
        print(name, f"{one['seconds']:.2f} s,", ", ".join(told))
    print("counter", found["counter"], "overhead", found["overhead"])


if __name__ == "__main__":
    if sys.argv[1] == "load":
        done = load(float(sys.argv[2]))
        print(f"{done / float(sys.argv[2]) / 1e12:.0f} TFLOP/s")
    else:
        compare(sys.argv[2])
