"""Rows of the measured tables, grouped as the fits need them.

One group per device, operator class, element type and direction.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from efficiency_model import Array, wave_share

# Of both models in op_profiles.csv: inputs of the first layer norm are batch x 2048 x hidden.
SEQUENCE = 2048
# hidden, heads, head size, feed-forward, padded vocabulary: from the printed sizes of weights
MODELS = {"OPT-350": (1024, 16, 64, 4096, 50272), "OPT-30": (7168, 56, 128, 28672, 50272)}
PROFILED = {
    "A100-40": "A100-SXM-40GB",
    "V100-16": "V100-SXM-16GB",
    "GH-96": "GH200-96GB",
    "RTX-3090": "RTX-3090",
    "RTX-2080": "RTX-2080-Ti",  # 11 GiB in the same source
    "Titan-RTX": "TITAN-RTX",
}
SUBMITTED = {
    "NVIDIA H100 80GB HBM3": "H100-SXM-80GB",
    "NVIDIA H100 PCIe": "H100-PCIe-80GB",
    "NVIDIA A100-PCIE-40GB": "A100-PCIe-40GB",
    "NVIDIA A40": "A40",
    "NVIDIA A10G": "A10G",
    "NVIDIA H20": "H20-SXM-96GB",
    "NVIDIA L20": "L20",
    "NVIDIA GeForce RTX 4090": "RTX-4090",
    "NVIDIA GeForce RTX 5090": "RTX-5090",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX-PRO-6000-Blackwell-Server",
    "NVIDIA TITAN RTX": "TITAN-RTX",
    "NVIDIA GeForce RTX 2080 Ti": "RTX-2080-Ti",
    "Tesla P100-PCIE-16GB": "P100-PCIe-16GB",
    "Ascend910B2": "Ascend-910B2",
}
BEST_SHAPE = {
    "NVIDIA A100 SXM": "A100-SXM-80GB",
    "NVIDIA A100 PCIe": "A100-PCIe-80GB",
    "NVIDIA GH200 SXM": "GH200-144GB",
    "NVIDIA H100 SXM": "H100-SXM-80GB",
    "NVIDIA H200 SXM": "H200-SXM-141GB",
    "NVIDIA B200 SXM": "B200-SXM-180GB",
    "NVIDIA B300 SXM": "B300-SXM-288GB",
    "NVIDIA GB200 SXM": "GB200",
    "AMD MI300X": "MI300X",
    "AMD MI325X": "MI325X",
    "AMD MI355X": "MI355X",
    "Intel Gaudi 2": "Gaudi2",
    "Intel Gaudi 3": "Gaudi3",
}


@dataclass
class Group:
    """Calls of one kind on one device. `calls` rows are what the model of that kind takes."""

    device: str
    kernel: str
    dtype: str
    direction: str
    source: str
    ranks: int = 0
    calls: list[tuple[float, ...]] = field(default_factory=list)
    time_us: list[float] = field(default_factory=list)
    held_out: list[bool] = field(default_factory=list)

    def add(self, call: tuple[float, ...], time_us: float, held_out: bool) -> None:
        self.calls.append(call)
        self.time_us.append(time_us)
        self.held_out.append(held_out)

    def part(self, held_out: bool) -> tuple[Array, Array]:
        """Calls and times of the fit (False) or of the rows held out (True)."""
        keep = [h == held_out for h in self.held_out]
        calls = np.array([c for c, k in zip(self.calls, keep, strict=True) if k], dtype=float)
        return calls, np.array([t for t, k in zip(self.time_us, keep, strict=True) if k])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def matmul_call(batch: float, m: float, n: float, k: float, units: float) -> tuple[float, ...]:
    return batch, m, n, k, wave_share(m, n, batch, units)


def operator_of(row: dict[str, str]) -> tuple[str, tuple[float, ...], bool] | None:
    """Kernel class, call and whether it is a matmul, of a row of op_profiles.csv.

    None where communication is inside the printed time."""
    hidden, heads, head, forward, vocabulary = MODELS[row["model"]]
    batch, degree = int(row["micro_batch"]), int(row["tp"])
    tokens, size = batch * SEQUENCE, 2 if row["dtype"] == "fp16" else 4
    scores = batch * heads / degree * SEQUENCE * SEQUENCE
    name = row["op_name"]
    linear = {
        "enc-attention-qkv": ("qkv", (tokens, 3 * hidden / degree, hidden)),
        "enc-MLP-GEMM-1": ("linear", (tokens, forward / degree, hidden)),
        "enc-attention-dense": ("linear_rows", (tokens, hidden, hidden / degree)),
        "enc-MLP-GEMM-2": ("linear_rows", (tokens, hidden, forward / degree)),
    }
    if name in linear:
        return linear[name][0], linear[name][1], True
    other: dict[str, tuple[str, tuple[float, float, float]]] = {
        "enc-1st-layernorm": ("norm", (tokens * hidden * size, hidden, 0)),
        "enc-2nd-layernorm": ("norm", (tokens * hidden * size, hidden, 0)),
        "final-layernorm": ("final_norm", (tokens * hidden * size, hidden, 0)),
        "enc-post-attention-dropout": ("dropout_add", (tokens * hidden * size, 1024, 0)),
        "enc-post-MLP-dropout": ("dropout_add", (tokens * hidden * size, 1024, 0)),
        "enc-MLP-gelu": ("elementwise", (tokens * forward / degree * size, 1024, 0)),
        "enc-attention-softmax": ("softmax", (scores * size, 1024, 0)),
        "enc-attention-dropout": ("dropout", (scores * size, 1024, 0)),
        "enc-attention-score": ("attention_score", (scores * size, 1024, 2 * scores * head)),
        "enc-attention-context": ("attention_context", (scores * size, 1024, 2 * scores * head)),
        "gpt-post-process": (
            "loss",
            (
                tokens * vocabulary / degree * size,
                1024,
                2.0 * tokens * vocabulary / degree * hidden,
            ),
        ),
        "encoder-embedding": ("embedding", (tokens * hidden * size, hidden, 0)),
    }
    if name == "encoder-embedding" and degree > 1:
        return None
    return other[name][0], other[name][1], False


def profile_groups(path: Path, units: dict[str, float]) -> tuple[list[Group], int]:
    """Groups of op_profiles.csv and the number of rows (each direction counts) left aside.

    Held out: micro-batches 2 and 8. Rows of algo 1 repeat those of algo 0 with another layout of
    the collectives, so they are left aside."""
    groups: dict[tuple[str, ...], Group] = {}
    aside = 0
    for row in rows(path):
        found = operator_of(row) if row["algo"] == "0" else None
        for direction in ("forward", "backward"):
            time = float(row["fwd_us" if direction == "forward" else "bwd_us"])
            if found is None or not 0 < time < 9e6:  # 1e7 us marks a failed call
                aside += 1
                continue
            kernel, call, is_matmul = found
            split = "linear_rows" if direction == "forward" else "qkv linear"
            if is_matmul and int(row["tp"]) > 1 and kernel in split:
                aside += 1  # an all-reduce is inside
                continue
            device = PROFILED[row["gpu"]]
            if is_matmul:
                m, n, k = call if direction == "forward" else (call[0], call[2], call[1])
                call = matmul_call(1, m, n, k, units[device])
                kernel = "qkv" if kernel == "qkv" else "linear"
            key = (device, kernel, row["dtype"], direction)
            group = groups.setdefault(key, Group(*key, source=row["source"]))
            group.add(call, time, row["micro_batch"] in ("2", "8"))
    return list(groups.values()), aside


def dtype_of(text: str) -> str:
    return "fp8" if text.startswith("fp8") else text


def gemm_groups(path: Path, units: dict[str, float]) -> tuple[list[Group], list[Group], int]:
    """Groups of gemm.csv to fit, those held out as a whole source, the number of rows left aside.

    Held out of the fit: sizes 2048 and 8192 of the square ones, every fourth row of the FP8
    table."""
    groups: dict[tuple[str, ...], Group] = {}
    whole: dict[tuple[str, ...], Group] = {}
    aside, turn = 0, 0
    for row in rows(path):
        source, dtype = row["source"], dtype_of(row["dtype"])
        device = (
            SUBMITTED.get(row["gpu"])
            or BEST_SHAPE.get(row["gpu"])
            or {"H800": "H800-SXM-80GB"}.get(row["gpu"])
        )
        if device is None or not row["m"] or not dtype:
            aside += 1  # device, type or shape not stated
            continue
        batch, m, n, k = (float(row[name] or 1) for name in ("batch", "m", "n", "k"))
        time = 2 * batch * m * n * k / float(row["tflops"]) / 1e6
        best = "MAMF" in source
        turn += "DeepGEMM" in source
        held = best or (turn % 4 == 0 if "DeepGEMM" in source else m in (2048, 8192))
        key = (device, "matmul", dtype, "forward", row["source_path"].split(":")[0])
        group = (whole if best else groups).setdefault(
            key, Group(*key[:4], source=f"{source}, {key[4]}")
        )
        group.add(matmul_call(batch, m, n, k, units[device]), time, held)
    return list(groups.values()), list(whole.values()), aside


COLLECTIVE = {
    "allreduce": "all_reduce",
    "allgather": "all_gather",
    "reducescatter": "reduce_scatter",
    "all2all": "all_to_all",
}


def collective_groups(path: Path) -> tuple[list[Group], int]:
    """Groups of collectives.csv with at least eight sizes. Held out: every second size."""
    names = {**PROFILED, "A100": "A100-SXM-40GB", "V100": "V100-SXM-16GB", "": ""}
    groups: dict[tuple[str, ...], Group] = {}
    found: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    sources: dict[tuple[str, ...], str] = {}
    aside = 0
    for row in rows(path):
        size, time = float(row["size_bytes"] or 0), float(row["time_us"] or 0)
        if size <= 0 or not 0 < time < 1e11 or not row["n_gpus"] or row["gpu"] not in names:
            aside += 1  # 1e12 us marks a failed call; a table without sizes has no curve
            continue
        kind = COLLECTIVE.get(row["collective"], row["collective"])
        key = (names[row["gpu"]] or "unknown", kind, row["n_gpus"], row["n_nodes"], row["source"])
        found[key].append((size, time))
        sources[key] = row["source"]
    for key, points in found.items():
        if len(points) < 8:
            aside += len(points)
            continue
        group = groups.setdefault(
            key, Group(key[0], key[1], "", "", sources[key], ranks=int(key[2]))
        )
        held = set(sorted({size for size, _ in points})[1::2])
        for size, time in sorted(points):
            group.add((size,), time, size in held)
    return list(groups.values()), aside
