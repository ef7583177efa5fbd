"""What probes are filed under, and probe sets as text for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from parallel_opt.probe_kernels import ARITHMETIC


def software() -> str:
    """What probes of this interpreter are filed under: torch, the driver of GPUs, and whether the
    user lets fp32 products of GPUs run as TF32, eight times as fast."""
    driver = driver_version(Path("/"))
    tf32 = torch.cuda.is_available() and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return (
        f"torch {torch.__version__}"
        + (f", driver {driver}" if driver else "")
        + (", tf32" if tf32 else "")
    )


def driver_version(root: Path) -> str:
    """Version of the NVIDIA or AMD kernel driver below ``root``; empty without one."""
    nvidia, amd = root / "proc/driver/nvidia/version", root / "sys/module/amdgpu/version"
    if nvidia.exists():
        # "Kernel Module  570.86.15  Thu ...", "Open Kernel Module for x86_64  580.159.04  Release"
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", nvidia.read_text())
        return found.group(1) if found else ""
    return amd.read_text().strip() if amd.exists() else ""


def show(sets: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    lines = []
    for one in sets:
        lines.append(f"{one['device']}: {one['software']}, {one['wall_s']:.1f} s")
        for curve in one["rates"]:
            best = max(point["per_s"] for point in curve["points"])
            unit = "GFLOP/s" if curve["kernel"].startswith(ARITHMETIC) else "GB/s"
            threads = f"{curve['threads']} thread" if curve["threads"] else "all cores"
            name = f"{curve['kernel']} {curve.get('dtype', '')}".strip()
            scatter = f"  +-{50 * curve['spread']:.0f} %" if "spread" in curve else ""
            lines.append(f"  {name:<34} {threads:<10} {best / 1e9:8.1f} {unit}{scatter}")
        for link in one["links"]:
            latency, rate = link["latency_s"]["value"], link["bytes_per_s"]["value"]
            lines.append(f"  {link['type']:<34} {latency * 1e6:7.1f} us  {rate / 1e9:6.1f} GB/s")
        for name, text in (("launch_s", "forward"), ("launch_autograd_s", "forward + backward")):
            lines.append(f"  {'eager operator, ' + text:<34} {one[name]['value'] * 1e6:7.1f} us")
    return "\n".join(lines + [f"note: {note}" for note in notes])
