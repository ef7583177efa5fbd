"""Short measurements of the PyTorch kernels of this machine, cached per device and torch version.

``python -m parallel_opt.probe`` measures, stores and prints a summary; ``--json`` prints the
``parallel-opt/probe/1`` document. Data sheets and CPU flags say what a device should do; whether
bfloat16, say, is fast here is decided by these rates alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from parallel_opt import _core
from parallel_opt.errors import MachineError
from parallel_opt.probe_hosts import UNSTEADY, merged_hosts
from parallel_opt.probe_kernels import Curve, plan_curves
from parallel_opt.probe_launch import Launches
from parallel_opt.probe_passes import PASSES, Passes, Sampled
from parallel_opt.probe_text import show, software
from parallel_opt.probe_timing import kept_memory, own_state, raise_clocks

BUDGET_S = 30.0
QUICK_BUDGET_S = 2.0
HOST_SHARE = 0.15  # of the budget: memory bandwidth and transfers, measured in C++
LAUNCH_SHARE = 0.1
LEAST_OVERTIME_S = 8.0  # beyond the budget, so that each curve has a point; with more of it, more
MOST_BUSY = 1 / 3  # of the curves may scatter in a probe that is kept
BUSY_SERVES_S = 600.0  # how long a probe that others disturbed serves before it is taken again

Document = dict[str, Any]


def _overloaded(one: Sampled, rates: dict[float, float], alone: dict[float, float]) -> bool:
    """All cores well below one core: something else had the cores. At the largest common size, as
    threads may not pay at small ones; where none was seen in peace, at any."""
    common = sorted(size for size in rates if size in alone)
    asked = common if one.disturbed() else common[-1:]
    return one.curve.threads > 1 and any(rates[size] < 0.9 * alone[size] for size in asked)


@dataclass
class Prober:
    """Measures one device within a budget that all points share."""

    device: torch.device
    budget_s: float
    started: float = field(default_factory=time.perf_counter)
    notes: list[str] = field(default_factory=list)
    busy: list[Curve] = field(default_factory=list)
    raised: list[Curve] = field(default_factory=list)  # to the rates of one core
    tell: Callable[[str], None] | None = None  # progress
    missed: list[str] = field(default_factory=list)  # curves without a point

    def left_s(self) -> float:
        return self.budget_s - (time.perf_counter() - self.started)

    def rates(
        self, curves: Sequence[Curve], between: Callable[[], None] = lambda: None
    ) -> list[Document]:
        """In passes, see probe_passes.py; ``between`` is called before each."""
        overtime_s = max(LEAST_OVERTIME_S, self.budget_s)
        passes = Passes(self.device, self.left_s, self.notes, self.tell, overtime_s)
        sampled = passes.run(curves, between)
        self.missed = passes.missed
        sampled = [one for one in sampled if one.bursts]
        found = {one.curve: one.rates() for one in sampled}
        self._tell_busy(sampled, found)
        return [
            _document(one, found[one.curve], "assumed" if one.curve in self.raised else "measured")
            for one in sampled
        ]

    def disturbed(self, curves: int) -> bool:
        """Whether quiet moments were too rare to trust: cores were taken, or much scattered."""
        return bool(self.raised or self.missed) or len(self.busy) > MOST_BUSY * curves

    def _tell_busy(
        self, sampled: Sequence[Sampled], found: dict[Curve, dict[float, float]]
    ) -> None:
        self.busy += [
            one.curve for one in sampled if one.disturbed() or (one.spread() or 0.0) > UNSTEADY
        ]
        alone = {(c.kernel, c.dtype): rates for c, rates in found.items() if c.threads == 1}
        for one in sampled:
            curve, rates = one.curve, found[one.curve]
            single = alone.get((curve.kernel, curve.dtype), {})
            if _overloaded(one, rates, single):
                # Whoever had the other cores will be gone some day: all cores do at least what one
                # does, which is what the curve says now, and as no more than an assumption.
                rates |= {size: max(rate, rates.get(size, 0.0)) for size, rate in single.items()}
                self.busy.append(curve)
                self.raised.append(curve)
        if self.busy:
            kernels = ", ".join(sorted({curve.kernel for curve in self.busy}))
            load = os.getloadavg()[0]
            self.notes.append(f"probe: the machine was busy (load {load:.1f}): {kernels} scattered")


def _document(one: Sampled, rates: dict[float, float], quality: str) -> Document:
    curve = one.curve
    # The whole device is written as 0, so that the curve holds for every view of it.
    whole = curve.threads == 0 or curve.threads >= curve.all_threads
    document: Document = {"kernel": curve.kernel, "threads": 0 if whole else curve.threads}
    if curve.dtype:
        document["dtype"] = curve.dtype
    if (scatter := one.spread()) is not None:
        document["spread"] = scatter
    points = [{"size": size, "per_s": rate} for size, rate in sorted(rates.items())]
    return document | {
        "points": points,
        "quality": quality,
        "source": f"probe {_core.today()}",
    }


def measure(
    device: _core.Device,
    *,
    budget_s: float = BUDGET_S,
    quick: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Document:
    """Probe one device of this host; returns a ``parallel-opt/probes/1`` document.

    Args:
        device: A CPU device, on whose cores this process must be running, or an NVIDIA device.
        budget_s: Seconds to spend; a single slow call may go beyond it.
        quick: Fewer sizes and types.
        tell: Called with what is measured next.
    """
    target = torch_device(device)
    _first_backward(target)
    started = time.perf_counter()
    document: Document = {
        "schema": _core.ProbeSet.SCHEMA,
        "uuid": device.uuid,
        "device": device.name,
        "software": software(),
        "date": _core.today(),
    }
    hosts: list[Document] = []
    launches = Launches(target)

    def between() -> None:
        if target.type == "cpu":
            part_s = budget_s * HOST_SHARE / PASSES
            hosts.append(json.loads(_core.probe_host(device, part_s).to_json()))
        launches.measure(budget_s * LAUNCH_SHARE / PASSES)

    prober = Prober(target, budget_s, started, tell=tell)
    cores = max(1, min(device.physical_cores or len(device.cores), len(device.cores) or 1))
    with own_state(), kept_memory():
        rates = prober.rates(plan_curves(target, cores, quick=quick), between)
    host, varied = merged_hosts(hosts)
    document["wall_s"] = time.perf_counter() - started
    document["rates"] = rates + host.get("rates", [])
    document |= launches.found()
    document["busy"] = prober.disturbed(len(rates))
    document["links"] = host.get("links", [])
    document["notes"] = prober.notes + host.get("notes", []) + varied
    return document


def _first_backward(device: torch.device) -> None:
    """The first backward of a process imports hundreds of modules: start-up, not measurement. So
    are the clocks of an idle GPU, which rise within a fraction of a second."""
    with own_state():
        x = torch.ones(1, device=device, requires_grad=True)
        torch.autograd.grad(x * 2, [x], torch.ones(1, device=device))
        if device.type == "cuda":
            raise_clocks(device)


def torch_device(device: _core.Device) -> torch.device:
    """The torch device of a Device of this host. Raises LookupError when torch does not see it."""
    if device.kind == "cpu":
        return torch.device("cpu")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if str(torch.cuda.get_device_properties(index).uuid) in device.uuid:
            return torch.device("cuda", index)
    raise LookupError(f"torch does not see {device.name} ({device.uuid})")


def _types(cluster: _core.Cluster, kind: str | None = None) -> list[_core.Device]:
    """One device of each type: equal ones need one probe. Of all kinds when none is given, or none
    of that kind is here."""
    first: dict[str, _core.Device] = {}
    wanted = [device for device in cluster.devices if device.kind == kind]
    for device in wanted or cluster.devices:
        first.setdefault(device.name, device)
    return list(first.values())


def cached(cluster: _core.Cluster | None = None, *, kind: str | None = None) -> bool:
    """True when every type of device of this host, or those of one kind, has a probe of this torch
    version that is worth keeping: not old, not damaged, not taken while others used the machine, or
    taken minutes ago, as they are likely still there."""
    cluster = cluster or _core.discover()
    found = [_core.cached_probes(device, software())[0] for device in _types(cluster, kind)]
    return all(
        probes is not None and (not probes.busy or _just_filed(probes.uuid)) for probes in found
    )


def _just_filed(uuid: str) -> bool:
    """Whether a probe of the device was filed within the last minutes."""
    latest = 0.0
    for file in Path(_core.probe_directory()).glob("*.json"):
        with contextlib.suppress(OSError):
            if uuid in file.read_text(encoding="utf-8"):
                latest = max(latest, file.stat().st_mtime)
    return time.time() - latest < BUSY_SERVES_S


def run(
    *,
    budget_s: float | None = None,
    quick: bool = False,
    uuid: str | None = None,
    kind: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[list[Document], list[str]]:
    """Probe each type of device of this host; returns probe sets and notes."""
    budget_s = budget_s if budget_s is not None else (QUICK_BUDGET_S if quick else BUDGET_S)
    devices = _types(_core.discover(), kind)
    if uuid is not None:
        devices = [d for d in _core.discover().devices if d.uuid == uuid]
    sets: list[Document] = []
    notes: list[str] = []
    apart = uuid is None and len([d for d in devices if d.kind == "cpu"]) > 1
    for device in devices:
        part_s = budget_s / len(devices)
        try:
            if apart and device.kind == "cpu":
                sets.append(_measure_apart(device, part_s, quick))
            else:
                sets.append(measure(device, budget_s=part_s, quick=quick, tell=tell))
        except (LookupError, subprocess.SubprocessError, OSError) as error:
            notes.append(f"probe: {device.name}: {error}")
    return sets, notes


def _measure_apart(device: _core.Device, budget_s: float, quick: bool) -> Document:
    """Core groups are probed in a process that has never run elsewhere: pools keep their cores."""
    command = [sys.executable, "-m", "parallel_opt.probe", "--json", "--no-store"]
    command += ["--uuid", device.uuid, "--budget", str(budget_s)] + (["--quick"] if quick else [])
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=budget_s + 120)
    result: Document = json.loads(done.stdout)["sets"][0]
    return result


def run_and_store(
    *, quick: bool = False, budget_s: float | None = None, kind: str | None = None
) -> list[str]:
    """Probe this host and file the result for later runs; returns notes for the user."""
    sets, notes = run(quick=quick, budget_s=budget_s, kind=kind)
    return notes + store(sets)


def store(sets: Sequence[Document]) -> list[str]:
    """File probe sets in the cache; returns notes, one of them when the cache cannot be written."""
    notes = [note for one in sets for note in one.get("notes", [])]
    try:
        for one in sets:
            _core.store_probes(_core.ProbeSet.from_json(json.dumps(one), "probe"))
    except MachineError as error:
        notes.append(f"probe: not kept for later runs: {error}")
    return notes


def _progress(text: str) -> None:
    print(f"probe: {text}", file=sys.stderr, flush=True)


def _tell(options: argparse.Namespace) -> Callable[[str], None] | None:
    return None if options.quiet else _progress


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m parallel_opt.probe", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the document")
    parser.add_argument("--quick", action="store_true", help=f"about {QUICK_BUDGET_S:g} s")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="time to spend")
    parser.add_argument("--no-store", action="store_true", help="leave the cache alone")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--uuid", help="only this device, on its own cores")
    options = parser.parse_args(arguments)
    if options.budget is not None and options.budget <= 0:
        parser.error("--budget must be positive")
    if options.uuid is not None:
        device = next((d for d in _core.discover().devices if d.uuid == options.uuid), None)
        if device is None:
            parser.error(f"--uuid {options.uuid}: no such device here")
        if device.kind == "cpu" and device.cores:
            # The uuid holds the cores, so the affinity changes after the device was looked up.
            return _finish(options, *_pinned(device, options))
    sets, notes = run(
        budget_s=options.budget, quick=options.quick, uuid=options.uuid, tell=_tell(options)
    )
    return _finish(options, sets, notes)


def _pinned(device: _core.Device, options: argparse.Namespace) -> tuple[list[Document], list[str]]:
    before = os.sched_getaffinity(0)
    budget_s = options.budget or (QUICK_BUDGET_S if options.quick else BUDGET_S)
    try:
        os.sched_setaffinity(0, device.cores)
        return [measure(device, budget_s=budget_s, quick=options.quick, tell=_tell(options))], []
    finally:
        os.sched_setaffinity(0, before)


def _finish(options: argparse.Namespace, sets: list[Document], notes: list[str]) -> int:
    if options.no_store:
        notes = notes + [note for one in sets for note in one["notes"]]
    else:
        notes = notes + store(sets)
    if options.json:
        print(json.dumps({"schema": _core.ProbeReport.SCHEMA, "sets": sets, "notes": notes}))
    else:
        print(show(sets, notes))
    return 0 if sets else 5


if __name__ == "__main__":
    sys.exit(main())
