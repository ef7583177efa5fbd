"""Probe sets as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Kernels whose sizes are bytes.
BYTES = ("memory", "elementwise", "reduce", "copy", "host_to_device", "device_to_host")


def show(sets: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    lines = []
    for one in sets:
        lines.append(f"{one['device']}: {one['software']}, {one['wall_s']:.1f} s")
        for curve in one["rates"]:
            best = max(point["per_s"] for point in curve["points"])
            unit = "GB/s" if curve["kernel"] in BYTES else "GFLOP/s"
            threads = f"{curve['threads']} thread" if curve["threads"] else "all cores"
            name = f"{curve['kernel']} {curve.get('dtype', '')}".strip()
            lines.append(f"  {name:<34} {threads:<10} {best / 1e9:8.1f} {unit}")
        for link in one["links"]:
            latency, rate = link["latency_s"]["value"], link["bytes_per_s"]["value"]
            lines.append(f"  {link['type']:<34} {latency * 1e6:7.1f} us  {rate / 1e9:6.1f} GB/s")
        for name, text in (("launch_s", "forward"), ("launch_autograd_s", "forward + backward")):
            lines.append(f"  {'eager operator, ' + text:<34} {one[name]['value'] * 1e6:7.1f} us")
    return "\n".join(lines + [f"note: {note}" for note in notes])
