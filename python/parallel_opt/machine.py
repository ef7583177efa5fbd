"""The machine that a training run has: what `cluster=` says of it, and whether that is here."""

from __future__ import annotations

import logging
from collections import Counter

from parallel_opt import _core, probe
from parallel_opt._core import Cluster
from parallel_opt.errors import InputError
from parallel_opt.probe_text import software

log = logging.getLogger("parallel_opt")


def training_cluster(spec: str, kind: str | None = None) -> tuple[Cluster, list[str]]:
    """The cluster to train on and the notes of measuring it.

    "local" is measured once, its devices of ``kind`` ("cpu", "gpu") when that is given. Another
    description (a preset, a file) may state other numbers for this machine, but no device that is
    not here: raises InputError.
    """
    if spec == "local":
        notes: list[str] = []
        if not probe.cached(kind=kind):
            log.info("measuring this machine once (a few seconds)")
            notes = probe.run_and_store(quick=True, kind=kind)
        return _core.load_cluster("local", software()), notes
    cluster = _core.load_cluster(spec)
    missing = what_is_missing(cluster, _core.load_cluster("local"))
    if missing is not None:
        hint = f"plan for it with `parallel-opt plan --cluster {spec}`, train without cluster="
        raise InputError(f"OptimizedParallel(cluster={spec!r})", missing, hint)
    return cluster, []


def what_is_missing(described: Cluster, here: Cluster) -> str | None:
    """Why a run on this host, one node of ``described``, cannot use it; None: it can."""
    per_node = Counter((d.node, str(d.kind)) for d in described.devices)
    wanted = {
        kind: max(count for (_, k), count in per_node.items() if k == kind)
        for kind in sorted({kind for _, kind in per_node})
    }
    have = Counter(str(d.kind) for d in here.devices)
    short = [
        f"{count} {kind.upper()} device{'' if count == 1 else 's'} per node"
        for kind, count in wanted.items()
        if count > have[kind]
    ]
    cores = {kind: _cores(cluster) for kind, cluster in (("it", described), ("here", here))}
    if not short and cores["it"] > cores["here"]:
        short = [f"{cores['it']} CPU cores per node"]
    if not short:
        return None
    return f"it has {', '.join(short)}, and this machine is {_in_words(here)}"


def _cores(cluster: Cluster) -> int:
    """Logical cores of the largest CPU device."""
    return max((len(d.cores) for d in cluster.devices if str(d.kind) == "cpu"), default=0)


def _in_words(cluster: Cluster) -> str:
    counts = Counter(device.name for device in cluster.devices)
    return " and ".join(f"{count} x {name}" for name, count in counts.items())
