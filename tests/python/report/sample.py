"""A demo document and a run document with everything in them, made up but plausible."""

from __future__ import annotations

import math
from typing import Any

PHASES = (("forward", 0.31), ("backward", 0.52), ("optimizer", 0.11), ("data", 0.04))


def timeline(step_s: float, peak: float, steps: int = 4, ranks: int = 1) -> dict[str, Any]:
    """Steps of four phases with some operators inside, and live memory that rises and falls."""
    spans: list[dict[str, Any]] = []
    counters: list[dict[str, Any]] = []
    for rank in range(ranks):
        track = f"rank {rank}"
        for step in range(steps):
            now = step * step_s
            for name, share in PHASES:
                length = share * step_s
                spans.append(_span(name, name, track, now, length))
                if name in ("forward", "backward"):
                    for i in range(6):
                        spans.append(
                            _span(f"block {i}", name, track, now + length * i / 6, length / 7)
                        )
                now += length
            for i in range(24):
                level = 0.35 + 0.65 * math.sin(math.pi * (i / 23) ** 0.7)
                counters.append(
                    {
                        "counter": "memory_bytes",
                        "track": track,
                        "time_s": (step + i / 24) * step_s,
                        "value": peak * min(1.0, level),
                    }
                )
    return {
        "schema": "parallel-opt/timeline/1",
        "source": "measured",
        "spans": spans,
        "counters": counters,
    }


def _span(name: str, category: str, track: str, start: float, length: float) -> dict[str, Any]:
    return {
        "name": name,
        "category": category,
        "track": track,
        "start_s": start,
        "duration_s": length,
    }


def uncertain(value: float, spread: float, quality: str = "calibrated") -> dict[str, Any]:
    return {
        "value": value,
        "low": value * (1 - spread),
        "high": value * (1 + spread),
        "quality": quality,
    }


def estimate(step_s: float, peak: float) -> dict[str, Any]:
    return {
        "step_time_s": uncertain(step_s, 0.12),
        "samples_per_s": uncertain(16 / step_s, 0.12),
        "peak_memory_bytes": uncertain(peak, 0.03),
        "items": [
            {"name": "forward contraction", "seconds": step_s * 0.24},
            {"name": "backward contraction", "seconds": step_s * 0.46},
            {"name": "attention", "seconds": step_s * 0.09},
            {"name": "elementwise", "seconds": step_s * 0.12},
            {"name": "optimizer", "seconds": step_s * 0.09},
            {"name": "parameters", "bytes": peak * 0.2},
            {"name": "gradients", "bytes": peak * 0.2},
            {"name": "optimizer states", "bytes": peak * 0.4},
            {"name": "activations", "bytes": peak * 0.2},
        ],
    }


def candidates(best: float) -> list[dict[str, Any]]:
    chosen = "1 rank x 2 threads, bf16, compiled, fused optimizer"
    rows = [
        (chosen, 1.02, 1.0, "chosen: fastest in the trial"),
        ("1 rank x 2 threads, bf16, eager", 1.31, 1.29, "compiling wins 22 % back"),
        ("1 rank x 2 threads, fp32, compiled, fused optimizer", 1.52, 1.49, "bf16 is faster here"),
        ("1 rank x 2 threads, fp32, eager (plain PyTorch)", 1.66, 1.64, "slower than bf16"),
        ("2 ranks x 1 thread, bf16, compiled", 1.38, None, "all-reduce costs 11 ms a step"),
        ("2 ranks x 1 thread, fp32, compiled", 1.97, None, "predicted 97 % slower"),
    ]
    return [
        {
            "plan": plan,
            "chosen": plan == chosen,
            "predicted_s": uncertain(best * predicted, 0.15),
            **({"measured_s": uncertain(best * measured, 0.02, "measured")} if measured else {}),
            "peak_memory_bytes": 3.1e8,
            "reason": reason,
        }
        for plan, predicted, measured, reason in rows
    ]


def way(name: str, step_s: float, peak: float, plan: str) -> dict[str, Any]:
    scale = {"plain": 0.0, "fp32": 1e-5, "auto": 4e-3}[name]
    losses: list[float | None] = [
        1.4 + 4.2 * math.exp(-i / 22) * (1 + scale * math.sin(i)) + 0.05 * math.sin(1.7 * i)
        for i in range(76)
    ]
    document: dict[str, Any] = {
        "step_s": {"median": step_s, "low": step_s * 0.97, "high": step_s * 1.06},
        "samples_per_s": 16 / step_s,
        "peak_bytes": peak,
        "rss_bytes": peak + 4.1e8,
        "cpu_share": 0.94,
        "energy_j": step_s * 31,
        "energy_quality": "modelled",
        "losses": losses,
        "final_loss": losses[-1],
        "held_out_loss": 1.61 + scale,
        "plan": plan,
        "timeline": timeline(step_s, peak),
    }
    if name != "plain":
        document |= {
            "reasons": [
                "torch.compile saves 14 ms of 118 ms a step (trial: 1.13x, noise 0.8 %)",
                "2 threads on 1 rank: a second rank would add 11 ms of all-reduce",
            ],
            "notes": ["channels_last was not tried: the model has no convolutions"],
            "predicted": {"step_s": step_s * 0.94, "peak_bytes": peak * 1.02},
            "error": {"step": -0.06, "peak": 0.02},
            "estimate": estimate(step_s * 0.94, peak * 1.02),
            "probing_s": 38.2,
            "break_even_steps": 850.0,
            "candidates": candidates(step_s),
        }
    return document


def demo() -> dict[str, Any]:
    def model(name: str, title: str, step_s: float, peak: float, gain: float) -> dict[str, Any]:
        return {
            "name": name,
            "title": title,
            "plain": way("plain", step_s, peak, "plain PyTorch: eager, fp32, all threads"),
            "fp32": way(
                "fp32", step_s / 1.11, peak * 0.93, "1 rank x 2 threads, fp32, compiled, fused"
            ),
            "auto": way(
                "auto", step_s / gain, peak * 0.8, "1 rank x 2 threads, bf16, compiled, fused"
            ),
            "ratio": {
                "fp32": {"median": 1.11, "low": 1.09, "high": 1.13},
                "auto": {"median": gain, "low": gain - 0.03, "high": gain + 0.04},
            },
            "agreement": {
                "fp32": {"training": 2e-6, "held_out": 1e-6, "tolerance": 1e-4, "agrees": True},
                "auto": {"training": 3e-3, "held_out": 2e-3, "tolerance": 1e-2, "agrees": True},
            },
        }

    return {
        "schema": "parallel-opt/demo/1",
        "machine": {
            "date": "2026-11-21",
            "cpu": "AMD EPYC 9B14",
            "cores": 2,
            "memory_bytes": 24 * 2**30,
            "devices": ["AMD EPYC 9B14 (2 cores, avx512_bf16)"],
            "python": "3.11.2",
            "torch": "2.13.0+cpu",
            "threads": 2,
        },
        "models": [
            model(
                "gpt", "byte-level GPT on the standard library's source text", 0.118, 3.9e8, 1.66
            ),
            model("cnn", "residual CNN on scikit-learn's digit scans", 0.064, 2.1e8, 1.91),
        ],
    }


def run() -> dict[str, Any]:
    return {
        "schema": "parallel-opt/run/1",
        "title": "train.py",
        "date": "2026-11-21T10:00:00+00:00",
        "machine": "AMD EPYC 9B14 (2 cores, avx512_bf16)",
        "ranks": 2,
        "exit_code": 0,
        "plan_line": "2 ranks x 1 thread, fp32, compiled",
        "estimate": estimate(0.07, 2.5e8),
        "measured": {
            "steps": 200,
            "step_time_s": uncertain(0.074, 0.04, "measured"),
            "samples_per_s": uncertain(216, 0.04, "measured"),
            "peak_memory_bytes": 2.46e8,
            "rss_bytes": 9.1e8,
            "cpu_share": 0.91,
        },
        "reasons": ["two ranks hide the data loader's 9 ms"],
        "candidates": candidates(0.074),
        "planning": {
            "capture_s": 0.8,
            "probe_s": 0.0,
            "search_s": 0.01,
            "trial_s": 21.5,
            "break_even_steps": 1200.0,
        },
        "events": [
            {"time_s": 0.0, "kind": "plan", "text": "2 ranks x 1 thread, fp32, compiled"},
            {"time_s": 3.1, "kind": "fallback", "text": "the start-up check of DDP failed: twin"},
            {"time_s": 90.2, "kind": "non_finite", "text": "loss is NaN at step 113"},
        ],
        "timeline": timeline(0.074, 2.46e8, ranks=2),
    }
