"""Question: does this machine train as predicted? Budget: median error of step time and of peak
memory at most 10 %, ten small models of two sizes on one rank of all cores and on ranks of one
core.

Plans are pinned to plain PyTorch (eager, fp32), so that the prediction is the cost model's alone:
no trial has measured the model. All cases of a number of ranks are in memory and take turns; a time
is the median over rounds, the peak what torch's allocator held at most during a step, all ranks
summed. Turns in which others used the machine are not counted, and up to twice as many more are
taken where that leaves fewer than three: those in which other processes (or other machines of the
host) had a tenth of the cores' time, and those around which products that a probe times too took
5 % longer than the probe of this machine says. How fast the machine was in the others, by those
products, is told beside.

    python bench/live_accuracy.py [--models a,b] [--ranks 1,2] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from live_models import MODELS, Case
from parallel_opt import OptimizedParallel, _core, probe
from parallel_opt.engine import process_group
from parallel_opt.measure import resident_bytes, transient_peak_bytes
from parallel_opt.probe_points import Kept, matmul
from parallel_opt.probe_text import software
from parallel_opt.probe_timing import time_burst

PARTS = ("forward", "loss", "backward", "optimizer")
STEPS, TURN_S = 2, 0.1  # least of one turn, after a step that warms the caches
QUIET = 1.05  # times what the probe says of the reference
MOST_OTHERS = 0.1  # of all cores' time; the kernel counts in hundredths of a second
LEAST_QUIET, MOST_ROUNDS = 3, 3  # turns that are to count; times as many as asked for
REFERENCE = matmul("fp32", 256)
PINS: dict[str, Any] = {
    "compile": False,
    "precision": "fp32",
    "fused_optimizer": False,
    "attention": "fused",
    "memory_format": "contiguous",
    "recompute": "none",
    "verify": False,
}


def part_of(item: str) -> str:
    """Of an estimate: where in the loop it happens."""
    if item in ("loss", "optimizer"):
        return item
    return "forward" if item.startswith(("forward", "gather of outputs")) else "backward"


class Reference:
    """The probe's own products of one size, on all threads of every rank at once."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._call = Kept(REFERENCE.make(torch.device("cpu")))

    def seconds(self) -> float:
        """Of the slowest rank."""
        if self._ranks > 1:
            dist.barrier()
        return self.slowest(time_burst(self._call, 0.03, lambda: None))

    def slowest(self, seconds: float) -> float:
        """The largest over ranks, on all of them."""
        return self._over_ranks(seconds, dist.ReduceOp.MAX)

    def sum(self, seconds: float) -> float:
        return self._over_ranks(seconds, dist.ReduceOp.SUM)

    def _over_ranks(self, seconds: float, op: Any) -> float:
        if self._ranks == 1:
            return seconds
        found = torch.tensor(seconds, dtype=torch.float64)
        dist.all_reduce(found, op=op)
        return float(found)


class Others:
    """What all processes but these ranks had of the cores, from its making on."""

    def __init__(self) -> None:
        self._begin, self._own, self._all = time.perf_counter(), time.process_time(), busy_s()

    def share(self, reference: Reference) -> float:
        elapsed = reference.slowest(time.perf_counter() - self._begin)
        own = reference.sum(time.process_time() - self._own)
        used = reference.slowest(busy_s() - self._all)
        return (used - own) / (elapsed * (os.cpu_count() or 1))


def busy_s() -> float:
    """Core seconds since the machine's start, stolen ones too; 0 where nobody counts them."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", maxsplit=1)[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, *interrupts = (int(n) for n in first.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


@dataclass
class Live:
    """A case in training."""

    name: str
    case: Case
    model: OptimizedParallel
    optimizer: torch.optim.Optimizer
    rounds: list[list[float]] = field(default_factory=list)
    references: list[float] = field(default_factory=list)  # seconds, the slower around each round
    others: list[float] = field(default_factory=list)  # what they had of the cores' time

    def step(self) -> list[float]:
        """Seconds of each of PARTS."""
        marks = [time.perf_counter()]
        out = self.model(self.case.batch)
        marks.append(time.perf_counter())
        loss = self.case.loss(out)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(time.perf_counter())
        return [b - a for a, b in pairwise(marks)]

    def round(self, reference: Reference) -> None:
        before = reference.seconds()
        once = reference.slowest(sum(self.step()))
        watch = Others()
        steps = [self.step() for _ in range(max(STEPS, int(TURN_S / once)))]
        self.others.append(watch.share(reference))
        self.rounds.append([median(part) for part in zip(*steps, strict=True)])
        self.references.append(max(before, reference.seconds()))

    def quiet(self, limit: float) -> list[tuple[list[float], float]]:
        """Rounds that nobody disturbed, with their reference, which was within ``limit``."""
        all_rounds = zip(self.rounds, self.references, self.others, strict=True)
        return [(a, b) for a, b, others in all_rounds if b <= limit and others <= MOST_OTHERS]

    def peak_bytes(self, ranks: int) -> int:
        """DDP holds every gradient once more, in buckets that it made before the first step."""
        self.step()
        parameters = self.model.parameters()
        buckets = sum(p.nbytes for p in parameters if p.requires_grad) if ranks > 1 else 0
        resident = resident_bytes(self.model.module, [self.optimizer]) + buckets
        return resident + self.case.batch.nbytes + transient_peak_bytes(self.step)


def probed_seconds(cluster: str, threads: int) -> float:
    """Of the reference, by the curve of products."""
    device = _core.load_cluster(cluster).devices[0]
    whole = threads >= len(device.cores)
    curve = next(
        c
        for c in device.rates
        if c.kernel == "matmul" and str(c.dtype) == "fp32" and (c.threads == 0) == whole
    )
    rate = next(point.per_s for point in curve.points if point.size == REFERENCE.size)
    return REFERENCE.calls * REFERENCE.size / rate


def start(name: str, large: bool, threads: int, ranks: int, cluster: str) -> Live:
    torch.manual_seed(0)
    case = MODELS[name](large)
    optimizer = case.make_optimizer()
    model = OptimizedParallel(
        case.model,
        **PINS,
        probe_budget_s=0,
        threads=threads,
        micro_batch=len(case.batch) // ranks,
        cluster=cluster,
    )
    live = Live(f"{name}, {'large' if large else 'small'}", case, model, optimizer)
    for _ in range(3):
        live.step()
    return live


def predicted(live: Live) -> dict[str, Any]:
    estimate = json.loads(live.model.estimate().to_json())
    parts = dict.fromkeys(PARTS, 0.0)
    for item in estimate["items"]:
        if item.get("seconds"):
            parts[part_of(item["name"])] += item["seconds"]
    return {
        "time_s": estimate["step_time_s"]["value"],
        "memory_bytes": estimate["peak_memory_bytes"]["value"],
        "parts": parts,
        "items": estimate["items"],
    }


def worker(names: Sequence[str], rounds: int, cluster: str, output: str) -> None:
    """One rank: every case in turns, `rounds` times; the first rank writes what was found."""
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    threads = max(1, (os.cpu_count() or 1) // ranks)
    torch.set_num_threads(threads)
    if ranks > 1:
        process_group.start(timeout_s=120.0)
    cases = [
        start(name, large, threads, ranks, cluster) for name in names for large in (False, True)
    ]
    peaks = [float(live.peak_bytes(ranks)) for live in cases]
    reference = Reference(ranks)
    probed_s = probed_seconds(cluster, threads)
    for number in range(MOST_ROUNDS * rounds):
        for live in cases:
            if number < rounds or len(live.quiet(QUIET * probed_s)) < LEAST_QUIET:
                live.round(reference)
    if ranks > 1:
        total = torch.tensor(peaks, dtype=torch.float64)
        dist.all_reduce(total)
        peaks = total.tolist()
        dist.barrier()
    if rank == 0:
        found = [
            row_of(live, ranks, peak, probed_s) for live, peak in zip(cases, peaks, strict=True)
        ]
        Path(output).write_text(json.dumps(found), encoding="utf-8")


def row_of(live: Live, ranks: int, peak: float, probed_s: float) -> dict[str, Any]:
    quiet = live.quiet(QUIET * probed_s)
    counted = [parts for parts, _ in quiet] or live.rounds
    references = [seconds for _, seconds in quiet] or live.references
    times = sorted(sum(parts) for parts in counted)
    middle = len(times) // 4
    return {
        "case": live.name,
        "ranks": ranks,
        "rounds": len(live.rounds),
        "quiet": len(quiet),
        "time_s": median(times),
        "slower": median(references) / probed_s,
        "spread": (times[-1 - middle] - times[middle]) / median(times),
        "parts": dict(
            zip(PARTS, (median(part) for part in zip(*counted, strict=True)), strict=True)
        ),
        "memory_bytes": peak,
        "predicted": predicted(live),
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def measured(ranks: int, names: Sequence[str], rounds: int, cluster: str) -> list[dict[str, Any]]:
    """Starts `ranks` processes of this script and waits for them."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "rows.json"
        command = [sys.executable, __file__, "--worker", str(output)]
        command += ["--models", ",".join(names), "--rounds", str(rounds), "--cluster", cluster]
        base = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        running = []
        for rank in range(ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            size = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
            running.append(subprocess.Popen(command, env=base | (own | size if ranks > 1 else {})))
        if any([process.wait() for process in running]):
            raise SystemExit(f"a rank of {ranks} failed")
        rows: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
        return rows


def error(row: dict[str, Any], name: str) -> float:
    """Predicted / measured - 1."""
    return float(row["predicted"][name] / row[name] - 1)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| case | ranks | quiet turns | slower than probed | step, ms | spread | predicted | error "
        "| forward | loss | backward | optimizer | peak, MB | predicted | error |",
        "|---|---:" + "|---:" * 13 + "|",
    ]
    for row in rows:
        guess = row["predicted"]
        parts = " | ".join(
            f"{1e3 * row['parts'][p]:.1f} : {1e3 * guess['parts'][p]:.1f}" for p in PARTS
        )
        lines.append(
            f"| {row['case']} | {row['ranks']} | {row['quiet']} of {row['rounds']} "
            f"| {100 * (row['slower'] - 1):+.0f} % | {1e3 * row['time_s']:.1f} "
            f"| {100 * row['spread']:.0f} % | {1e3 * guess['time_s']:.1f} "
            f"| {100 * error(row, 'time_s'):+.1f} % | {parts} | {row['memory_bytes'] / 1e6:.1f} "
            f"| {guess['memory_bytes'] / 1e6:.1f} | {100 * error(row, 'memory_bytes'):+.1f} % |"
        )
    return lines


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for ranks in sorted({row["ranks"] for row in rows}):
        chosen = [row for row in rows if row["ranks"] == ranks]
        lines.append(f"{ranks} rank{'s' if ranks > 1 else ''}: {in_words(chosen)}")
    return [*lines, f"all {len(rows)}: {in_words(rows)} (budget 10 %)"]


def in_words(rows: Sequence[dict[str, Any]]) -> str:
    words = []
    for title, name in (("step time", "time_s"), ("peak memory", "memory_bytes")):
        sizes = sorted(abs(error(row, name)) for row in rows)
        bias = median(error(row, name) for row in rows)
        words.append(
            f"{title}: median error {100 * median(sizes):.1f} %, largest {100 * sizes[-1]:.0f} %, "
            f"bias {100 * bias:+.1f} %"
        )
    return "; ".join(words)


def machine(budget_s: float, path: Path) -> str:
    """This machine as probed, in a file: no rank probes again, busy or not."""
    if budget_s > 0 or not probe.cached():
        for note in probe.run_and_store(budget_s=budget_s or None):
            print(note, file=sys.stderr)
    path.write_text(_core.load_cluster("local", software()).to_json(), encoding="utf-8")
    return str(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--models", default=",".join(MODELS), help="names, by commas")
    parser.add_argument("--ranks", default="1,2", help="numbers of ranks, by commas (1,2)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every case (7)")
    parser.add_argument(
        "--probe", type=float, default=0.0, metavar="SECONDS", help="measure this machine anew"
    )
    parser.add_argument("--cluster", default="", help="a machine that was described before")
    parser.add_argument("--json", default="", metavar="FILE", help="write the rows there")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.models.split(",")
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(MODELS)}")
    if options.worker:
        worker(names, options.rounds, options.cluster, options.worker)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        cluster = options.cluster or machine(options.probe, Path(directory) / "cluster.json")
        rows = [
            row
            for ranks in options.ranks.split(",")
            for row in measured(int(ranks), names, options.rounds, cluster)
        ]
    print("\n".join([*table(rows), "", *summary(rows)]))
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
