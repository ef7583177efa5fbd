"""Turns what the demo collected into its document (schema parallel-opt/demo/1), a table and a
report."""

from __future__ import annotations

import datetime
import json
import math
import platform
from statistics import median
from typing import Any

import torch

from parallel_opt._core import Cluster, Timeline
from parallel_opt.demo.rounds import Collected, cores, ratios, spread

WAYS = ("plain", "fp32", "auto")
TOLERANCE = {"fp32": 1e-4, "auto": 1e-2}
"""Largest relative difference of losses to plain at the same steps."""


def machine(cluster: Cluster) -> dict[str, Any]:
    """What the demo ran on."""
    node = cluster.nodes[0]
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": node.cpu_model,
        "cores": cores(),
        "memory_bytes": int(node.memory_bytes.value),
        "devices": [device.name for device in cluster.devices],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _relative(measured: float, predicted: float) -> float:
    return (predicted - measured) / measured


def _errors(step_s: float, peak_bytes: float, predicted: dict[str, float]) -> dict[str, float]:
    return {
        "step": _relative(step_s, predicted["step_s"]),
        "peak": _relative(peak_bytes, predicted["peak_bytes"]),
    }


def way_document(way: str, collected: Collected, batch: int) -> dict[str, Any]:
    """One of plain, fp32, auto. Absent is absent."""
    steps = [value for values in collected.step_s for value in values]
    step = spread(steps)
    document: dict[str, Any] = {
        "step_s": step,
        "samples_per_s": batch / step["median"],
        "peak_bytes": collected.peak_bytes,
        "rss_bytes": collected.rss_bytes,
        "cpu_share": collected.cpu_s / collected.wall_s / cores(),
        "energy_quality": collected.energy_quality,
        "losses": collected.losses,
        "final_loss": collected.losses[-1],
        "held_out_loss": collected.held_out,
        "plan": collected.about.get("plan_line", "plain PyTorch: eager, fp32, all threads"),
        "reasons": collected.about.get("reasons", []),
        "notes": collected.about.get("notes", []),
    }
    if collected.energy_j:
        document["energy_j"] = median(collected.energy_j)
    predicted = collected.about.get("predicted")
    if predicted:
        document["predicted"] = predicted
        document["error"] = _errors(step["median"], collected.peak_bytes, predicted)
    modelled = collected.about.get("modelled")
    if modelled:
        document["modelled"] = modelled
        document["modelled_error"] = _errors(step["median"], collected.peak_bytes, modelled)
    for key in ("probing_s", "break_even_steps", "candidates", "estimate"):
        if collected.about.get(key) is not None:
            document[key] = collected.about[key]
    document["timeline"] = _timeline(way, collected)
    return document


def _timeline(way: str, collected: Collected) -> dict[str, Any]:
    """A few measured steps, and the memory of one more, which ran under the allocator's own
    accounting."""
    origin = collected.spans[0]["start_s"] if collected.spans else 0.0
    spans = [
        {
            "name": span["phase"],
            "category": span["phase"],
            "track": way,
            "start_s": span["start_s"] - origin,
            "duration_s": span["end_s"] - span["start_s"],
        }
        for span in collected.spans
    ]
    counters = [
        {"counter": "memory_bytes", "track": way, "time_s": time_s, "value": held}
        for time_s, held in collected.curve
    ]
    return {
        "schema": Timeline.SCHEMA,
        "source": "measured",
        "spans": spans,
        "counters": counters,
    }


def loss_difference(plain: Collected, other: Collected) -> dict[str, float]:
    """Largest relative difference of training losses at the same steps, and that of the held-out
    loss."""
    pairs = zip(plain.losses, other.losses, strict=True)
    return {
        "training": max(abs(b - a) / abs(a) for a, b in pairs),
        "held_out": abs(other.held_out - plain.held_out) / abs(plain.held_out),
    }


def model_document(name: str, title: str, batch: int, ways: dict[str, Collected]) -> dict[str, Any]:
    """One trained model: the three ways, ratios over interleaved rounds, agreement of losses."""
    plain = ways["plain"]
    agreement = {}
    for way in ("fp32", "auto"):
        difference = loss_difference(plain, ways[way])
        worst = max(difference.values())
        agreement[way] = {
            **difference,
            "tolerance": TOLERANCE[way],
            "agrees": math.isfinite(worst) and worst <= TOLERANCE[way],
        }
    document = {
        "name": name,
        "title": title,
        **{way: way_document(way, ways[way], batch) for way in WAYS},
        "ratio": {way: spread(ratios(plain, ways[way])) for way in ("fp32", "auto")},
        "agreement": agreement,
    }
    graph = ways["auto"].about.get("graph")
    if graph is not None:
        document["graph"] = graph
    return document


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


def rows(model: dict[str, Any]) -> list[list[str]]:
    """The comparison table of one model, one row per quantity."""

    def line(title: str, text: Any) -> list[str]:
        return [title, *(text(model[way], way) for way in WAYS)]

    def speed(_: dict[str, Any], way: str) -> str:
        if way == "plain":
            return "1"
        ratio = model["ratio"][way]
        return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"

    def step(document: dict[str, Any], _: str) -> str:
        low, mid, high = (1e3 * document["step_s"][key] for key in ("low", "median", "high"))
        return f"{mid:.1f} ({low:.1f} to {high:.1f})"

    def energy(document: dict[str, Any], _: str) -> str:
        value = document.get("energy_j")
        quality = document["energy_quality"]
        return quality if value is None else f"{value:.2f} ({quality})"

    def difference(_: dict[str, Any], way: str) -> str:
        if way == "plain":
            return "-"
        agreement = model["agreement"][way]
        verdict = "agrees" if agreement["agrees"] else "DIFFERS"
        return f"{agreement['training']:.1e}, {agreement['held_out']:.1e} ({verdict})"

    def error(document: dict[str, Any], key: str, of: str = "error") -> str:
        return _percent(document[of][key]) if of in document else "-"

    return [
        line("step time, ms", step),
        line("samples/s against plain", speed),
        line("samples/s", lambda d, _: f"{d['samples_per_s']:.0f}"),
        line("peak memory, MiB", lambda d, _: f"{d['peak_bytes'] / 2**20:.0f}"),
        line("CPU utilisation", lambda d, _: f"{100 * d['cpu_share']:.0f} %"),
        line("energy per step, J", energy),
        line("held-out loss", lambda d, _: f"{d['held_out_loss']:.5f}"),
        line("loss difference (training, held-out)", difference),
        line("predicted step time", lambda d, _: error(d, "step")),
        line("predicted peak memory", lambda d, _: error(d, "peak")),
        line("  step time, before any trial", lambda d, _: error(d, "step", "modelled_error")),
        line("  peak memory, before any trial", lambda d, _: error(d, "peak", "modelled_error")),
    ]


def finite(value: Any) -> Any:
    """JSON has no NaN: a number that is none becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return value


def to_json(document: dict[str, Any]) -> str:
    return json.dumps(finite(document), indent=2) + "\n"
