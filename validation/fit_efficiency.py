#!/usr/bin/env python3
"""Fits the curves of data/efficiency/ and says how well they predict rows they never saw.

    python validation/fit_efficiency.py --data DIR

DIR holds gemm.csv, op_profiles.csv and collectives.csv; this project's own measurements are read
from bench/results/ (efficiency_own.py). Writes data/efficiency/*.json,
tests/hardware/efficiency_cases.json (what the C++ evaluation is compared with) and the tables in
docs/hardware.md. Same input, same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from efficiency_data import Group, collective_groups, gemm_groups, profile_groups
from efficiency_model import Array, attention_us, collective_us, matmul_us, operator_us
from efficiency_own import own_groups
from efficiency_report import replace_tables
from scipy.optimize import least_squares

ROOT = Path(__file__).resolve().parent.parent
# Centre and width of what is believed before a row is seen, natural logarithm (the exponent:
# plain).
MATMUL_PRIOR = {
    "efficiency": (np.log(0.8), 0.4),
    "k_half": (np.log(60.0), 1.0),
    "launch_us": (np.log(6.0), 2.0),
    "throttle": (np.log(0.05), 1.0),
    "passes": (np.log(0.1), 1.5),
}
OPERATOR_PRIOR = {
    "passes": (np.log(3.0), 1.5),
    "launch_us": (np.log(100.0), 1.0),
    "width_exponent": (0.0, 0.3),
    "efficiency": (np.log(0.4), 1.0),
}
ATTENTION_PRIOR = {
    "efficiency": (np.log(0.8), 0.4),
    "k_half": (np.log(60.0), 1.0),
    "launch_us": (np.log(7.0), 1.0),
    "throttle": (-30.0, 1.0),
    "passes": (-30.0, 1.0),
}
COLLECTIVE_PRIOR = {
    "latency_us": (np.log(100.0), 2.0),
    "us_per_byte": (np.log(1e-5), 4.0),
    "fill_us2_per_byte": (np.log(1e-5), 4.0),
}
OWN_KERNELS = ("attention", "optimizer", "optimizer_fused")
SPREAD = 0.08  # of one row around the curve; weighs rows against the priors


def load_devices() -> dict[str, dict[str, Any]]:
    files = sorted((ROOT / "data/devices").glob("*.json"))
    return {record["name"]: record for record in (json.loads(f.read_text()) for f in files)}


def peak_of(device: dict[str, Any], dtype: str) -> float:
    """FLOP per microsecond that the curve's efficiency is a share of.

    fp32 rows of op_profiles.csv on Ampere and newer run as tf32; gemm.csv says which it means."""
    rates = device["flops_per_s"]
    fallback = {"tf32": "fp32", "bf16": "fp16", "fp8": "int8"}
    fact = rates.get(dtype) or rates.get(fallback.get(dtype, "")) or rates["fp32"]
    return float(fact["value"]) / 1e6


def predict(group: Group, theta: Array, calls: Array, devices: dict[str, dict[str, Any]]) -> Array:
    kind = kind_of(group)
    if kind == "collective":
        return collective_us(np.exp(theta), calls[:, 0])
    device = devices[group.device]
    bandwidth = device["memory_bytes_per_s"]["value"] / 1e6
    if kind == "operator":
        curve = np.array([np.exp(theta[0]), np.exp(theta[1]), theta[2], np.exp(theta[3])])
        return operator_us(curve, bandwidth, peak_of(device, run_dtype(group, device)), calls)
    if kind == "attention":
        return attention_us(np.exp(theta), peak_of(device, group.dtype), calls, units_of(device))
    size = {"fp32": 4, "tf32": 4, "fp8": 1, "int8": 1}.get(group.dtype, 2)
    return matmul_us(
        np.exp(theta), peak_of(device, run_dtype(group, device)), 0.85 * bandwidth, calls, size
    )


def units_of(device: dict[str, Any]) -> float:
    return float(device["units"]["value"]) if "units" in device else 100.0


def run_dtype(group: Group, device: dict[str, Any]) -> str:
    profiled = group.kernel not in ("matmul", *OWN_KERNELS)
    return (
        "tf32"
        if profiled and group.dtype == "fp32" and "tf32" in device["flops_per_s"]
        else group.dtype
    )


def kind_of(group: Group) -> str:
    if group.ranks > 0:
        return "collective"
    if group.kernel == "attention":
        return "attention"
    return "matmul" if group.kernel in ("linear", "qkv", "matmul") else "operator"


PRIORS = {
    "matmul": MATMUL_PRIOR,
    "attention": ATTENTION_PRIOR,
    "operator": OPERATOR_PRIOR,
    "collective": COLLECTIVE_PRIOR,
}


def used(group: Group) -> list[bool]:
    """Parameters that the calls can tell apart; the others stay at a value without effect."""
    if kind_of(group) == "matmul":
        return [True, True, True, True, group.kernel == "qkv"]
    if kind_of(group) == "attention":
        return [True, True, True, False, False]
    if kind_of(group) == "operator":
        calls = np.array(group.calls)
        return [True, True, len(set(calls[:, 1])) > 1, bool(calls[:, 2].any())]
    return [True, True, True]


def fit(group: Group, devices: dict[str, dict[str, Any]]) -> Array:
    """Most probable parameters under the priors and a robust error of the logarithm of time."""
    prior = np.array(list(PRIORS[kind_of(group)].values()))
    free = np.array(used(group))
    calls, times = group.part(False)
    start = np.where(free, prior[:, 0], neutral(group))
    if kind_of(group) in ("operator", "collective"):
        index = {"operator": 1, "collective": 0}[kind_of(group)]
        start[index] = np.log(times.min())
        first = predict(group, start, calls, devices)
        start[1 - index] += np.log(np.median(times / first))

    def residuals(values: Array) -> Array:
        theta = start.copy()
        theta[free] = values
        error = np.log(predict(group, theta, calls, devices) / times) / SPREAD
        robust = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error**2) - 1))
        return np.concatenate([robust, ((theta - prior[:, 0]) / prior[:, 1])[free]])

    best = least_squares(residuals, start[free], x_scale=np.maximum(0.1, prior[free, 1]))
    theta = start.copy()
    theta[free] = best.x
    return theta


def neutral(group: Group) -> Array:
    if kind_of(group) in ("matmul", "attention"):
        return np.array([0.0, 0.0, 0.0, -30.0, -30.0])
    return np.array([0.0, 0.0, 0.0, 0.0])[: len(PRIORS[kind_of(group)])]


def curve_of(group: Group, theta: Array, devices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The curve as the C++ reads it: SI units, nothing that needs the database."""
    values = [float(f"{v:.6g}") for v in np.exp(theta)]
    head = {"device": group.device, "kernel": group.kernel}
    fitted = len(group.part(False)[1])
    tail = {"rows": fitted, "quality": "calibrated", "source": group.source}
    if kind_of(group) == "collective":
        latency, per_byte, fill = values
        return {
            **head,
            "ranks": group.ranks,
            "latency_s": latency / 1e6,
            "s_per_byte": per_byte / 1e6,
            "fill_s2_per_byte": fill / 1e12,
            **tail,
        }
    device = devices[group.device]
    head |= {"dtype": group.dtype, "direction": group.direction}
    bandwidth = float(device["memory_bytes_per_s"]["value"])
    if kind_of(group) == "operator":
        passes, launch, _, efficiency = values
        peak = peak_of(device, run_dtype(group, device)) * 1e6
        return {
            **head,
            "peak_flops_per_s": peak,
            "bytes_per_s": bandwidth,
            "passes": passes,
            "launch_s": launch / 1e6,
            "width_exponent": float(f"{theta[2]:.6g}"),
            "efficiency": efficiency,
            **tail,
        }
    efficiency, k_half, launch, throttle, passes = values
    return {
        **head,
        "peak_flops_per_s": peak_of(device, run_dtype(group, device)) * 1e6,
        "bytes_per_s": 0.85 * bandwidth,
        "units": int(units_of(device)),
        "efficiency": efficiency,
        "k_half": k_half,
        "launch_s": launch / 1e6,
        "throttle": throttle,
        "passes": passes,
        **tail,
    }


def errors(group: Group, theta: Array, devices: dict[str, dict[str, Any]], held_out: bool) -> Array:
    calls, times = group.part(held_out)
    if len(times) == 0:
        return np.zeros(0)
    return predict(group, theta, calls, devices) / times - 1


def pooled(groups: list[Group], thetas: list[Array], group: Group) -> Array | None:
    """Median of the other devices' curves of the class: what a device nobody measured gets."""
    same = [
        t
        for g, t in zip(groups, thetas, strict=True)
        if (g.kernel, g.dtype, g.direction, g.ranks)
        == (group.kernel, group.dtype, group.direction, group.ranks)
        and g.device != group.device
    ]
    return np.median(np.array(same), axis=0) if same else None


def cases_of(
    groups: list[Group], thetas: list[Array], devices: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """A few predictions of each kind, for the test of the C++ evaluation."""
    cases = []
    seen = set()
    for index, (group, theta) in enumerate(zip(groups, thetas, strict=True)):
        key = (group.device, group.kernel, group.dtype, group.direction, group.ranks)
        if index % 7 or key in seen:  # of two sources for one device the first answers
            seen.add(key)
            continue
        seen.add(key)
        calls, _ = group.part(True)
        rounded = np.array([np.log(float(f"{v:.6g}")) for v in np.exp(theta)])
        if kind_of(group) == "operator":
            rounded[2] = float(f"{theta[2]:.6g}")
        for call, time in list(zip(calls, predict(group, rounded, calls, devices), strict=True))[
            :3
        ]:
            cases.append(
                {
                    "kind": kind_of(group),
                    "device": group.device,
                    "kernel": group.kernel,
                    "dtype": group.dtype,
                    "direction": group.direction,
                    "ranks": group.ranks,
                    "call": [float(f"{v:.12g}") for v in call],
                    "seconds": float(f"{time / 1e6:.9g}"),
                }
            )
    return cases


def write(path: Path, document: dict[str, Any], rows: str) -> None:
    """One line for each row, so that a change of one curve is one line of a diff."""
    head = {key: value for key, value in document.items() if key != rows}
    lines = ",\n    ".join(json.dumps(row) for row in document[rows])
    text = json.dumps(head, indent=2)[:-2] + f',\n  "{rows}": [\n    {lines}\n  ]\n}}\n'
    path.write_text(text)


def default_curves(
    groups: list[Group], thetas: list[Array], devices: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """For each class the median curve, under the name "any", in units of the asking device."""
    found: dict[tuple[Any, ...], list[Array]] = {}
    for group, theta in zip(groups, thetas, strict=True):
        found.setdefault((group.kernel, group.dtype, group.direction, group.ranks), []).append(
            theta
        )
    curves = []
    for (kernel, dtype, direction, ranks), values in sorted(found.items()):
        if (len(values) < 2 and kernel not in OWN_KERNELS) or ranks:
            continue
        group = next(
            g
            for g in groups
            if (g.kernel, g.dtype, g.direction, g.ranks) == (kernel, dtype, direction, ranks)
        )
        curve = curve_of(group, np.median(np.array(values), axis=0), devices)
        curve |= {
            "device": "any",
            "rows": 0,
            "quality": "modelled",
            "source": f"median of {len(values)} devices" if len(values) > 1 else group.device,
        }
        curve |= {"peak_flops_per_s": 1.0, "bytes_per_s": 0.85 if "units" in curve else 1.0}
        if "units" in curve:
            curve["units"] = 100
        curves.append(curve)
    return curves


def write_curves(
    groups: list[Group], thetas: list[Array], devices: dict[str, dict[str, Any]]
) -> None:
    everything = list(zip(groups, thetas, strict=True))
    kinds: dict[str, Callable[[Group], bool]] = {
        "matmul": lambda g: kind_of(g) in ("matmul", "attention"),
        "operator": lambda g: kind_of(g) == "operator",
        "collective": lambda g: kind_of(g) == "collective",
    }
    for kind, wanted in kinds.items():
        chosen = [(g, t) for g, t in everything if wanted(g)]
        curves = [curve_of(g, t, devices) for g, t in chosen]
        curves += default_curves([g for g, _ in chosen], [t for _, t in chosen], devices)
        write(
            ROOT / f"data/efficiency/{kind}.json",
            {"schema": "parallel-opt/efficiency/1", f"{kind}s": curves},
            f"{kind}s",
        )
    cases = cases_of(groups, thetas, devices)
    write(
        ROOT / "tests/hardware/efficiency_cases.json",
        {"from": "validation/fit_efficiency.py", "cases": cases},
        "cases",
    )


def report(
    groups: list[Group],
    thetas: list[Array],
    best_shape: list[Group],
    unseen: list[Group],
    devices: dict[str, dict[str, Any]],
    aside: dict[str, int],
) -> None:
    everything = list(zip(groups, thetas, strict=True))
    held = {id(g): errors(g, t, devices, True) for g, t in everything}
    transfer = {}
    for group in groups:
        theta = pooled(groups, thetas, group) if kind_of(group) != "collective" else None
        transfer[id(group)] = (
            errors(group, theta, devices, True) if theta is not None else np.zeros(0)
        )
    whole = []
    for group in best_shape:
        own = next(
            (
                t
                for g, t in everything
                if g.device == group.device and g.dtype == group.dtype and g.kernel == "matmul"
            ),
            None,
        )
        theta = (
            own
            if own is not None
            else pooled(groups, thetas, Group("", "matmul", group.dtype, "forward", ""))
        )
        if theta is not None:
            whole.append((group, own is not None, errors(group, theta, devices, True)))
    for group in unseen:
        theta = pooled(groups, thetas, group)
        if theta is not None:
            transfer[id(group)] = errors(group, theta, devices, True)
    replace_tables(ROOT / "docs/hardware.md", groups, unseen, held, transfer, whole, aside)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="where the measured tables are"
    )
    data: Path = parser.parse_args().data
    devices = load_devices()
    units = {name: units_of(device) for name, device in devices.items()}
    square, best_shape, gemm_aside = gemm_groups(data / "gemm.csv", units)
    profiled, profile_aside = profile_groups(data / "op_profiles.csv", units)
    collective, collective_aside = collective_groups(data / "collectives.csv")
    own, unseen = own_groups(ROOT, units)
    groups = [*square, *profiled, *collective, *own]
    thetas = [fit(group, devices) for group in groups]
    aside = {
        "gemm.csv": gemm_aside,
        "op_profiles.csv": profile_aside,
        "collectives.csv": collective_aside,
    }
    write_curves(groups, thetas, devices)
    report(groups, thetas, best_shape, unseen, devices, aside)


if __name__ == "__main__":
    main()
