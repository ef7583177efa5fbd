"""This project's own measurements on one H200 and one H100, grouped as efficiency_data.py groups
the published tables.

``bench/results/2026-11-26-h200/`` has fused attention and optimizer steps by size, which no
published table has.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from efficiency_data import Group, matmul_call

H200, H100 = "H200-SXM-141GB", "H100-SXM-80GB"
TABLE = "own: bench/results/2026-11-26-h200/op_profiles.csv"
# Of the probe (probe_points.py): FLOPs forward -> batch, heads, sequence, head width.
PROBED = {
    536870912.0: (4, 8, 256, 64),
    34359738368.0: (8, 16, 1024, 64),
    274877906944.0: (8, 16, 2048, 128),
}
PRODUCTS = {"forward": 2, "backward": 5}
ROWS_OF_A_TILE = 128  # of queries, and of keys, in fused kernels
LATE = 0.75  # of a tile: how much longer the last units work, as tiles of a causal mask differ
HELD_OUT_HIDDEN = (1024, 2048)
HELD_OUT_MILLIONS = 100
FEW_ROWS = 256
HELD_OUT_EVERY = 3  # rows of products

Call = tuple[float, ...]


def causal_share(batch_heads: float, sequence: float, units: float) -> float:
    """Of all pairs of a query and a key, those that kernels compute where a query sees the keys
    before it: whole tiles, dealt to units unevenly."""
    tiles = sequence / ROWS_OF_A_TILE
    return min(1.0, (tiles + 1) / (2 * tiles) + LATE * units / (batch_heads * tiles))


def attention_call(
    batch_heads: float, sequence: float, width: float, direction: str, share: float = 1.0
) -> Call:
    """Products over a head, batch x heads, queries, keys that are seen, head width."""
    return (PRODUCTS[direction], batch_heads, sequence, sequence * share, width)


def _table_groups(path: Path, units: dict[str, float]) -> list[Group]:
    groups: dict[tuple[str, ...], Group] = {}

    def group(kernel: str, dtype: str, direction: str) -> Group:
        key = (H200, kernel, dtype, direction)
        return groups.setdefault(key, Group(*key, source=TABLE))

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name, dtype = row["op_name"], row["dtype"]
        block = re.match(r"hidden (\d+) heads (\d+) sequence (\d+)", row["model"])
        # torch has no TF32 in its fused fp32 kernel: those rows repeat the fp32 ones.
        if block and name.startswith("attention-sdpa") and dtype != "tf32":
            hidden, heads, sequence = (int(word) for word in block.groups())
            batch_heads = int(row["micro_batch"]) * heads
            causal = name.endswith("causal")
            share = causal_share(batch_heads, sequence, units[H200]) if causal else 1.0
            for direction, column in (("forward", "fwd_us"), ("backward", "bwd_us")):
                call = attention_call(batch_heads, sequence, hidden / heads, direction, share)
                held_out = hidden in HELD_OUT_HIDDEN
                group("attention", dtype, direction).add(call, float(row[column]), held_out)
        steps = re.match(r"(\d+)e6 parameters", row["model"])
        if steps and name.startswith("adamw"):
            millions = int(steps.group(1))
            kernel = "optimizer_fused" if name.endswith("fused") else "optimizer"
            call = (4e6 * millions, 1024.0, 0.0)
            held_out = millions == HELD_OUT_MILLIONS
            group(kernel, dtype, "forward").add(call, float(row["fwd_us"]), held_out)
    return list(groups.values())


def _product_groups(path: Path, units: dict[str, float]) -> list[Group]:
    """One group for each element type; the file lists the same shapes of each in one order."""
    groups: dict[str, Group] = {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    source = TABLE.replace("op_profiles", "gemm")
    for row in rows:
        key = (H200, "matmul", row["dtype"], "forward")
        group = groups.setdefault(row["dtype"], Group(*key, source=source))
        batch, m, n, k = (float(row[name] or 1) for name in ("batch", "m", "n", "k"))
        if m <= FEW_ROWS < n:
            continue  # their weights stream from memory, cold: no training step has such calls
        call = matmul_call(batch, m, n, k, units[H200])
        time_us = float(row["notes"].split()[0])
        group.add(call, time_us, len(group.calls) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1)
    return list(groups.values())


def _probed(path: Path, key: str, device: str, source: str, held_out: bool) -> list[Group]:
    """Attention at the sizes of one probe."""
    groups = []
    probe = next(s for s in json.loads(path.read_text())[key]["sets"] if s["device"] == device)
    for curve in probe["rates"]:
        if not curve["kernel"].startswith("attention"):
            continue
        direction = "backward" if curve["kernel"].endswith("backward") else "forward"
        found = Group(device, "attention", curve["dtype"], direction, source)
        for point in curve["points"]:
            shape = PROBED.get(point["size"] * 2 / PRODUCTS[direction])
            if shape is None:
                continue
            batch, heads, sequence, width = shape
            call = attention_call(batch * heads, sequence, width, direction)
            found.add(call, 1e6 * point["size"] / point["per_s"], held_out)
        groups.append(found)
    return groups


def own_groups(root: Path, units: dict[str, float]) -> tuple[list[Group], list[Group]]:
    """What is fitted, of the H200, and the H100's attention, which no fit sees.

    Held out of the fit: every third product, attention of the hidden sizes 1024 and 2048,
    optimizer steps over 100 million parameters."""
    results = root / "bench/results"
    products = _product_groups(results / "2026-11-26-h200/gemm.csv", units)
    fitted = _table_groups(results / "2026-11-26-h200/op_profiles.csv", units)
    by_key = {(g.kernel, g.dtype, g.direction): g for g in fitted}
    probes = results / "2026-11-26-h200/probes.json"
    for probed in _probed(probes, "first", H200, TABLE, held_out=False):
        target = by_key[probed.kernel, probed.dtype, probed.direction]
        for call, time in zip(probed.calls, probed.time_us, strict=True):
            target.add(call, time, held_out=False)
    probes = results / "2026-11-26-h100/probes.json"
    source = "own: bench/results/2026-11-26-h100/probes.json"
    return [*products, *fitted], _probed(probes, "full_first", H100, source, held_out=True)
