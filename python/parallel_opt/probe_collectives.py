"""Collectives between the ranks of one or several hosts, measured by size.

``python -m parallel_opt.probe_collectives`` measures between processes of this host; under
``torchrun`` between the ranks that it started, on one host or many. The result is a
``parallel-opt/profile/1`` document that a cluster names as a cost source
(docs/imported-profiles.md). gloo on processors, NCCL where every rank has a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from parallel_opt import _core, compat
from parallel_opt.probe_timing import percentile, spread

BUDGET_S = 20.0
QUICK_BUDGET_S = 4.0
SIZES = tuple(1 << power for power in range(10, 25))  # 1 KiB to 16 MiB
QUICK_SIZES = tuple(1 << power for power in (10, 14, 18, 20, 22, 24))
COLLECTIVES = ("p2p", "all_reduce", "all_gather", "reduce_scatter", "all_to_all")
STABLE_SPREAD = 0.05  # interquartile range over median
LEAST_ROUNDS, MOST_ROUNDS = 5, 60

Document = dict[str, Any]
Call = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """Seconds of one size: the slowest rank's median, and how much its rounds scattered."""

    bytes: int
    seconds: float
    spread: float
    rounds: int


def _device() -> torch.device:
    if dist.get_backend() == "nccl":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def _call(collective: str, nbytes: int, device: torch.device) -> Call:
    """One collective over a whole tensor of ``nbytes``, as the cost model counts it."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    count = max(ranks, nbytes // 4 // ranks * ranks)
    whole = torch.zeros(count, device=device)
    part = torch.zeros(count // ranks, device=device)
    if collective == "all_reduce":
        return lambda: dist.all_reduce(whole)
    if collective == "all_gather":
        return lambda: compat.all_gather_single(whole, part)
    if collective == "reduce_scatter":
        return lambda: compat.reduce_scatter_single(part, whole)
    if collective == "all_to_all":
        other = torch.empty_like(whole)
        return lambda: dist.all_to_all_single(other, whole)
    # There and back between the first and the last rank: the caller halves it.
    first, last = 0, ranks - 1

    def ping_pong() -> None:
        if rank == first:
            dist.send(whole, last)
            dist.recv(whole, last)
        elif rank == last:
            dist.recv(whole, first)
            dist.send(whole, first)

    return ping_pong


def _slowest(value: float) -> float:
    tensor = torch.tensor([value], dtype=torch.float64, device=_device())
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return float(tensor)


def _sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _measure_size(collective: str, nbytes: int, budget_s: float) -> Measured:
    """Rounds until the slowest rank's times are stable or the budget is spent; ranks agree on it
    after every batch of rounds, so that none waits for a call that another does not make."""
    device = _device()
    call = _call(collective, nbytes, device)
    trips = 2 if collective == "p2p" else 1
    call()  # opens connections, touches pages
    _sync(device)
    begin = time.perf_counter()
    call()
    _sync(device)
    # A round lasts long enough that the clock and the barrier do not count.
    inner = max(1, min(20, int(2e-3 / max(1e-6, _slowest(time.perf_counter() - begin)))))
    times: list[float] = []
    while True:
        for _ in range(LEAST_ROUNDS):
            dist.barrier()
            start = time.perf_counter()
            for _ in range(inner):
                call()
            _sync(device)
            times.append((time.perf_counter() - start) / inner / trips)
        ordered = sorted(times)
        spent = _slowest(time.perf_counter() - begin)
        scatter = _slowest(spread(ordered))
        if scatter < STABLE_SPREAD or spent > budget_s or len(times) >= MOST_ROUNDS:
            return Measured(nbytes, _slowest(percentile(ordered, 0.5)), scatter, len(times))


def measure(
    sizes: Sequence[int], budget_s: float, tell: Callable[[str], None]
) -> dict[str, list[Measured]]:
    """Every collective by size, on all ranks of the process group at once."""
    found: dict[str, list[Measured]] = {}
    points = len(COLLECTIVES) * len(sizes)
    end = time.perf_counter() + budget_s
    for collective in COLLECTIVES:
        tell(f"{collective}, {dist.get_world_size()} ranks")
        for nbytes in sizes:
            share_s = _slowest(max(0.0, end - time.perf_counter())) / max(1, points)
            points -= 1
            found.setdefault(collective, []).append(_measure_size(collective, nbytes, share_s))
    return found


def _hosts() -> list[str]:
    hosts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(hosts, os.environ.get("GROUP_RANK", "") + socket.gethostname())
    return [str(host) for host in hosts]


def profile_of(
    found: dict[str, list[Measured]], device: str, hosts: Sequence[str], backend: str
) -> Document:
    """The measured times as a profile, with an alpha-beta fit of each collective in its notes."""
    across = len(set(hosts)) > 1
    ranks = max(1, hosts.count(hosts[0])) if across else len(hosts)
    notes = []
    transfers = []
    for collective, points in found.items():
        alpha, beta = _core.fit_transfer([(float(p.bytes), p.seconds) for p in points])
        residual = alpha.high / alpha.value - 1 if alpha.value > 0 else 0.0
        scatter = max(p.spread for p in points)
        notes.append(
            f"{collective}, {len(hosts)} ranks: {alpha.value * 1e6:.1f} us + bytes / "
            f"{beta.value / 1e9:.3f} GB/s, residual {residual:.1%}, spread up to {scatter:.0%}"
        )
        transfers.append(
            {
                "collective": collective,
                "device": device,
                "scope": "cluster" if across else "node",
                "ranks": ranks,
                "points": [{"bytes": float(p.bytes), "seconds": p.seconds} for p in points],
            }
        )
    name = f"collectives {len(hosts)} ranks"
    source = f"probe {_core.today()}, torch {torch.__version__}, {backend}"
    return {
        "schema": _core.ImportedProfile.SCHEMA,
        "name": name,
        "source": source,
        "transfers": transfers,
        "notes": notes,
    }


@contextmanager
def _group(backend: str) -> Iterator[None]:
    dist.init_process_group(backend)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _rank_main(sizes: Sequence[int], budget_s: float, output: str, device: str) -> None:
    torch.set_num_threads(1)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    backend = "nccl" if gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 0 else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(local)
    with _group(backend):
        first = dist.get_rank() == 0

        def tell(text: str) -> None:
            if first:
                print(f"probe: {text}", file=sys.stderr, flush=True)

        hosts = _hosts()
        found = measure(sizes, budget_s, tell)
        if not first:
            return
        if not device:
            kind = "gpu" if backend == "nccl" else "cpu"
            device = next(d.name for d in _core.discover().devices if d.kind == kind)
        document = profile_of(found, device, hosts, backend)
        _core.ImportedProfile.from_json(json.dumps(document), "probe")
        text = json.dumps(document, indent=2) + "\n"
        if output:
            Path(output).write_text(text, encoding="utf-8")
        else:
            print(text, end="")


def _spawned(
    rank: int,
    ranks: int,
    port: int,
    sizes: Sequence[int],
    budget_s: float,
    output: str,
    device: str,
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    _rank_main(sizes, budget_s, output, device)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m parallel_opt.probe_collectives", description=__doc__
    )
    parser.add_argument("--ranks", type=int, default=2, help="processes of this host (2)")
    parser.add_argument("--quick", action="store_true", help=f"about {QUICK_BUDGET_S:g} s")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help=f"time ({BUDGET_S:g} s)")
    parser.add_argument("--device", default="", help="name of the devices; this host's without it")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write it there")
    options = parser.parse_args(arguments)
    if options.ranks < 2:
        parser.error("--ranks must be at least 2")
    if options.output and not Path(options.output).absolute().parent.is_dir():
        parser.error(f"-o {options.output}: there is no such directory")
    if options.budget is not None and options.budget <= 0:
        parser.error("--budget must be positive")
    budget_s = options.budget or (QUICK_BUDGET_S if options.quick else BUDGET_S)
    sizes = QUICK_SIZES if options.quick else SIZES
    if "RANK" in os.environ:  # torchrun
        _rank_main(sizes, budget_s, options.output, options.device)
        return 0
    processes: Any = mp  # its stubs hide spawn
    processes.spawn(
        _spawned,
        args=(options.ranks, _free_port(), sizes, budget_s, options.output, options.device),
        nprocs=options.ranks,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
