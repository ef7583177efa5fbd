"""One way of training one task, in its own process(es), steered round by round by the demo's
driver.

The loop in ``Trainer.step`` is the unchanged loop of a user; the only difference between the ways
is the one line in ``build``.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import time
from typing import Any

import torch
from torch import nn

from parallel_opt.demo.tasks import TASKS, Task
from parallel_opt.measure import cpu_memory_curve, resident_bytes, thinned


def build(task: Task, way: str, options: dict[str, Any]) -> nn.Module:
    """The model as the way asks for it."""
    model = task.model()
    if way == "plain":
        return model
    from parallel_opt import OptimizedParallel

    return OptimizedParallel(model, precision="fp32" if way == "fp32" else "auto", **options)


PHASES = ("data", "forward", "backward", "optimizer")
SHOWN_STEPS = 4


class Trainer:
    """Holds one training run and advances it on demand."""

    def __init__(self, task: Task, way: str, options: dict[str, Any]) -> None:
        self.task = task
        self.model = build(task, way, options)
        self.optimizer = task.optimizer(self.model)
        self.count = 0
        self.spans: list[dict[str, Any]] = []

    def step(self) -> float:
        marks = [time.perf_counter()]
        x, y = self.task.batch(self.count)
        marks.append(time.perf_counter())
        self.optimizer.zero_grad()
        loss = self.task.loss(self.model(x), y)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        value = loss.item()
        marks.append(time.perf_counter())
        self.count += 1
        self.spans += [
            {"phase": phase, "start_s": start, "end_s": end}
            for phase, start, end in zip(PHASES, marks[:-1], marks[1:], strict=True)
        ]
        return value

    def run(self, steps: int) -> dict[str, Any]:
        """Train ``steps`` steps; times in seconds, CPU time over all threads of this process."""
        times, losses = [], []
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            start = time.perf_counter()
            losses.append(self.step())
            times.append(time.perf_counter() - start)
        return {
            "step_s": times,
            "losses": losses,
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - wall,
        }

    def memory(self) -> dict[str, Any]:
        """One more step under the allocator's own accounting, and the process's peak so far."""
        losses: list[float] = []
        shown = self.spans[-SHOWN_STEPS * len(PHASES) :]  # of the last round: no wait in between
        self.optimizer.zero_grad()  # the gradients of the last step are no part of this one
        resident = resident_bytes(self.model, [self.optimizer])
        curve = cpu_memory_curve(lambda: losses.append(self.step()))
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {
            "peak_bytes": resident + max(held for _, held in curve),
            "rss_bytes": rss,
            "losses": losses,
            "curve": thinned(curve, above=resident),
            "timeline": shown,
        }

    def evaluate(self) -> dict[str, Any]:
        self.model.eval()
        with torch.no_grad():
            batches = self.task.held_out()
            losses = [self.task.loss(self.model(x), y).item() for x, y in batches]
        self.model.train()
        return {"held_out": sum(losses) / len(losses)}

    def describe(self) -> dict[str, Any]:
        """The plan and what is known of it; empty for plain."""
        summary = getattr(self.model, "summary", None)
        return summary() if summary is not None else {}


_PLACE = (("RANK", "0"), ("WORLD_SIZE", "1"))


def serve(trainer: Trainer, connection: socket.socket) -> None:
    """Answer the driver's requests, one JSON line each, until it says stop or goes away."""
    stream = connection.makefile("rw")
    rank, world = (int(os.environ.get(name, default)) for name, default in _PLACE)
    hello = {"rank": rank, "world": world}
    stream.write(json.dumps(hello) + "\n")
    stream.flush()
    for line in stream:
        request = json.loads(line)
        if request["do"] == "stop":
            return
        arguments = {key: value for key, value in request.items() if key != "do"}
        answer = getattr(trainer, request["do"])(**arguments)
        stream.write(json.dumps(answer) + "\n")
        stream.flush()


def main() -> None:
    """``python -m parallel_opt.demo.variant TASK WAY SOCKET OPTIONS_JSON``."""
    task, way, address, options = sys.argv[1:5]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        serve(Trainer(TASKS[task](), way, json.loads(options)), connection)


if __name__ == "__main__":
    main()
