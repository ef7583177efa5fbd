"""Question: what does OptimizedParallel bring on this GPU, and did it know beforehand?

    python bench/gpu/wrapper.py gpt|resnet50|vit OUTPUT.json [PROBE_BUDGET_S]

Ways: plain PyTorch; plain with TF32 products; plain under bf16 autocast; ours pinned to fp32; ours
left to choose. They take turns in rounds. Energy is the GPU's own counter over a window of 3 s.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from models import Task, task

import parallel_opt
from parallel_opt import OptimizedParallel, _core, capture
from parallel_opt.measure import resident_bytes

WAYS = ("plain", "tf32", "bf16_autocast", "fp32", "auto")
ROUNDS, STEPS, WARM_UP = 7, 6, 34
WINDOW_S = 3.0


@dataclass
class Way:
    name: str
    model: Any
    optimizer: torch.optim.Optimizer
    job: Task
    graph: Any = None
    steps: int = 0
    losses: list[Any] = field(default_factory=list)
    step_s: list[list[float]] = field(default_factory=list)

    def step(self) -> None:
        x, y = self.job.batch(self.steps)
        self.steps += 1
        with torch.autocast("cuda", torch.bfloat16, enabled=self.name == "bf16_autocast"):
            output = self.model(x)
        loss = self.job.loss(output, y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.detach())

    def run(self, steps: int) -> list[float]:
        torch.set_float32_matmul_precision("high" if self.name == "tf32" else "highest")
        times = []
        for _ in range(steps):
            torch.cuda.synchronize()
            start = time.perf_counter()
            self.step()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        torch.set_float32_matmul_precision("highest")
        return times


def make(name: str, job: Task, budget_s: float) -> Way:
    torch.manual_seed(0)
    model = job.model()
    graph = None
    if name in ("fp32", "auto"):
        graph = capture.capture(model, (job.batch(0)[0],), {})
        model = OptimizedParallel(
            model, precision=name, expected_steps=10_000, probe_budget_s=budget_s
        )
    return Way(name, model, job.optimizer(model), job, graph)


def peak_bytes(way: Way) -> int:
    """Of one more step: what is resident for this way, and what the step adds."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    way.run(1)
    return resident_bytes(way.model, [way.optimizer]) + (torch.cuda.max_memory_allocated() - before)


def energy(way: Way, step_s: float) -> dict[str, Any]:
    """Joules of one step by the GPU's counter, the window's error included."""
    steps = max(3, round(WINDOW_S / step_s))
    torch.cuda.synchronize()
    with parallel_opt.energy() as reading:
        way.run(steps)
    part = next(d for d in reading.devices if d.source.startswith("nvml"))
    joules = part.energy_j
    return {
        "source": part.source,
        "quality": part.quality,
        "steps": steps,
        "watts": joules.value / reading.window_s,
        "joules_per_step": joules.value / steps,
        "half_width": (joules.high - joules.low) / 2 / joules.value,
    }


def predicted(way: Way) -> dict[str, Any]:
    """What the cost model says of the plan in force, without any trial's measurements."""
    session = way.model.__dict__["_po_session"]
    momentum = type(way.optimizer).__name__ == "SGD"
    document = {"schema": _core.Job.SCHEMA, "global_batch": 0, "precision": session.plan.precision}
    document["optimizer"] = "momentum" if momentum else "adamw"
    job = _core.Job.from_json(json.dumps(document), "job")
    estimate = _core.estimate(way.graph, session.cluster, job, session.plan)
    return json.loads(estimate.to_json())


def describe(way: Way, plain: Way) -> dict[str, Any]:
    times = [t for round_s in way.step_s for t in round_s]
    ratios = sorted(
        median(slow) / median(fast) for slow, fast in zip(plain.step_s, way.step_s, strict=True)
    )
    losses = [float(a) for a in torch.stack(way.losses).tolist()]
    reference = [float(a) for a in torch.stack(plain.losses).tolist()]
    count = min(len(losses), len(reference), WARM_UP)
    pairs = list(zip(losses[:count], reference[:count], strict=True))
    document: dict[str, Any] = {
        "step_s": {"median": median(times), "low": min(times), "high": max(times)},
        "speedup": {"median": median(ratios), "low": ratios[0], "high": ratios[-1]},
        "peak_bytes": peak_bytes(way),
        "energy": energy(way, median(times)),
        "first_losses": losses[:3],
        "loss_difference": max(abs(a - b) / abs(b) for a, b in pairs),
        "steps_compared": count,
    }
    if isinstance(way.model, OptimizedParallel):
        summary = way.model.summary()
        for key in ("plan_line", "reasons", "notes", "candidates", "probing_s", "predicted"):
            document[key] = summary[key]
        document["planning"] = way.model.__dict__["_po_session"].cost_s
        try:
            document["estimate"] = predicted(way)
        except Exception as error:  # a part of the answer; the rest must not be lost
            document["estimate_error"] = f"{type(error).__name__}: {error}"
    return document


def main(arguments: list[str]) -> int:
    name, output = arguments[:2]
    budget_s = float(arguments[2]) if len(arguments) > 2 else 40.0
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    job = task(name)
    ways = []
    for way_name in WAYS:
        way = make(way_name, job, budget_s)
        start = time.perf_counter()
        first = way.run(1)[0]
        way.run(WARM_UP - 1)
        print(f"{name} {way_name}: first {first:.2f} s, warm {time.perf_counter() - start:.1f} s")
        ways.append(way)
    for number in range(ROUNDS):
        turn = number % len(ways)
        for way in ways[turn:] + ways[:turn]:
            way.run(1)
            way.step_s.append(way.run(STEPS))
    document = {
        "model": name,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "rounds": ROUNDS,
        "steps": STEPS,
        "ways": {},
    }
    for way in ways:
        document["ways"][way.name] = told = describe(way, ways[0])
        line = f"{name} {way.name}: {1e3 * told['step_s']['median']:.2f} ms"
        line += f", {told['speedup']['median']:.2f} x, {told['peak_bytes'] / 2**30:.2f} GiB"
        line += f", {told['energy']['joules_per_step']:.2f} J, loss {told['loss_difference']:.1e}"
        if "estimate" in told:
            guess = told["estimate"]["step_time_s"]["value"]
            held = told["estimate"]["peak_memory_bytes"]["value"]
            line += f", predicted {1e3 * guess:.2f} ms, {held / 2**30:.2f} GiB"
        print(line, told.get("plan_line", ""))
        Path(output).write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
