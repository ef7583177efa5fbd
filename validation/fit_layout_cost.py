#!/usr/bin/env python3
"""Fits the parameters of the layout cost model to published measurements.

    python validation/fit_layout_cost.py --data DIR [--check]

DIR holds training.csv, memory.csv and infeasible.csv. Writes data/cost/layout.json. With --check
it writes nothing and prints the fit's and the left-out sources' errors. Parameters are the most
probable ones under the stated priors and a robust loss; a source weighs by its rows to the power
0.75, so that a sweep of a thousand near copies does not decide alone. Same input, same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from item_widths import BYTES, KINDS, LEVEL_OF_BYTES, fit_widths, shares, width_besides
from layout_rows import Rows, read
from rank_groups import rank_line
from scipy.optimize import least_squares

from parallel_opt import _core

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data/cost/layout.json"
# Centre and width (natural logarithm) of what is believed before a row is seen, and why.
TIME_PRIOR = {
    # Not fitted, as no run of training speaks for them: what gemm.csv's best shapes reach (MI300X
    # 51 % of the peak, MI325X 60 %, MI355X 62 %, Gaudi 2 97 %, Gaudi 3 68 %) over the power rule;
    # CDNA2 runs the same libraries as CDNA3.
    "matmul_efficiency.Volta": (0.68, 0.06),  # gemm.csv, large products
    "matmul_efficiency.Ampere": (0.88, 0.05),
    "matmul_efficiency.Hopper": (0.76, 0.01),
    # Between the cube root of one chip near its limit and the proportion of equal voltages.
    "power_exponent": (0.6, 0.05),
    "narrow_efficiency": (0.95, 0.05),
    # A tile writes 2 bytes per element of its result while nothing multiplies: 1 / 0.85 of the
    # ridge alone; loads before the first product come on top.
    "inner_half": (2.0, 0.1),
    "wave": (0.4, 0.4),
    "kernel_s": (8e-6, 0.4),
    "pass": (1.2, 0.3),
    "score_pass": (5.0, 0.2),
    # FlashAttention 2 paper: its predecessor 25 to 40 % of the peak, itself 50 to 73 % forward.
    "early_efficiency": (0.41, 0.1),
    "flash_efficiency": (0.7, 0.15),
    "flash_hopper": (0.7, 0.1),
    # cuDNN on H100 at 16,384 causal keys: 660 TFLOP/s forward, 575 backward [shah2024].
    "vendor_efficiency": (0.72, 0.03),
    "host_s": (2e-3, 0.4),
    "host_fused_s": (6e-4, 0.4),
    "link_efficiency": (0.8, 0.05),
    "network_efficiency": (0.7, 0.1),
    "hop_s": (1.5e-5, 0.5),  # NCCL's own estimate of a hop by network, Simple protocol: 14 us
    "tensor_hop_s": (1.5e-5, 0.5),
    "link_latency_s": (2e-5, 0.4),
    "network_latency_s": (6e-5, 0.5),
    "overlap": (0.8, 0.05),
    "tensor_overlap": (0.4, 0.3),
    "gather_overlap": (0.9, 0.05),
    "optimizer_bytes": (28.0, 0.2),
    "step_s": (5e-3, 0.5),
    "straggle": (0.006, 0.1),
    "send": (1.0, 0.2),
}
MEMORY_PRIOR = {
    "saved": (1.0, 0.1),  # the graph says what is kept
    "logits": (1.0, 0.3),
    "reserve_bytes": (1e9, 0.5),
    "fragmentation": (1.05, 0.05),
}
SPREAD = 0.06
UNDER = 1.5  # times as bad as too much memory is too little, with which a job dies
LEAST_ROWS = 5  # of a source whose errors say how wide intervals are
# The sweep on a shared cluster: bimodal beyond 128 devices (docs/accuracy.md#noise).
NOISY = ("nano", 64)


def get(parameters: dict[str, Any], name: str) -> float:
    head, _, tail = name.partition(".")
    return float(parameters[head][tail] if tail else parameters[head])


def put(parameters: dict[str, Any], name: str, value: float) -> None:
    head, _, tail = name.partition(".")
    if tail:
        parameters[head][tail] = value
    else:
        parameters[head] = value


def weights(rows: Rows, mask: np.ndarray, power: float = 0.75) -> np.ndarray:
    """Of rows, so that a source weighs as its rows to ``power``."""
    weight = np.zeros(len(rows.source))
    for source in dict.fromkeys(rows.source):
        chosen = (rows.source == source) & mask
        if chosen.any():
            weight[chosen] = float(chosen.sum()) ** (power - 1)
    noisy = (rows.source == NOISY[0]) & (rows.devices > NOISY[1])
    weight[noisy] *= 0.02
    return weight


def fit(
    rows: Rows,
    prior: dict[str, tuple[float, float]],
    start: dict[str, Any],
    mask: np.ndarray,
    memory: bool,
    evaluations: int = 40,
) -> dict[str, Any]:
    """The most probable values of the parameters that ``prior`` names; the others stay."""
    names = list(prior)
    weight = np.sqrt(3 * weights(rows, mask)[mask])
    measured = (rows.peak_bytes if memory else rows.seconds)[mask]
    parameters = json.loads(json.dumps(start))

    def residuals(values: np.ndarray) -> np.ndarray:
        for name, value in zip(names, values, strict=True):
            put(parameters, name, float(np.exp(value)))
        predicted = np.array(rows.cases.predict(json.dumps(parameters))[int(memory)])[mask]
        error = np.log(predicted / measured) / SPREAD
        if memory:
            error = np.where(error < 0, UNDER * error, error)
        robust = np.sign(error) * np.sqrt(2 * (np.sqrt(1 + error**2) - 1))
        known = [
            (value - np.log(prior[name][0])) / prior[name][1]
            for name, value in zip(names, values, strict=True)
        ]
        return np.concatenate([robust * weight, known])

    begin = np.log([get(start, name) for name in names])
    found = least_squares(residuals, begin, max_nfev=evaluations)
    for name, value in zip(names, found.x, strict=True):
        put(parameters, name, float(f"{np.exp(value):.4g}"))
    return parameters


def errors(
    rows: Rows, parameters: dict[str, Any], mask: np.ndarray, memory: bool = False
) -> np.ndarray:
    predicted = np.array(rows.cases.predict(json.dumps(parameters))[int(memory)])[mask]
    return predicted / (rows.peak_bytes if memory else rows.seconds)[mask] - 1


def predict_left_out(
    rows: Rows,
    prior: dict[str, tuple[float, float]],
    start: dict[str, Any],
    mask: np.ndarray,
    memory: bool,
) -> np.ndarray:
    """Errors of every row of ``mask`` under parameters that its source had no part in; prints them
    by source."""
    found = np.zeros(len(mask))
    suffix = " bytes" if memory else ""
    for source in dict.fromkeys(rows.source[mask]):
        chosen = mask & (rows.source == source)
        other = fit(rows, prior, start, mask & ~chosen, memory=memory, evaluations=12)
        found[chosen] = errors(rows, other, chosen, memory)
        print(line(f"-{source}{suffix}", found[chosen]), flush=True)
    print(line(f"-all{suffix}", found[mask]))
    return found


def without_architecture(
    rows: Rows, start: dict[str, Any], mask: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows on devices of one architecture, and their errors under parameters that none of them had
    a part in: its efficiency is the one of all that are not known."""
    chosen = mask & (np.array(rows.cases.architectures) == name)
    prior = {key: of for key, of in TIME_PRIOR.items() if not key.endswith("." + name)}
    begin = json.loads(json.dumps(start))
    begin["matmul_efficiency"].pop(name, None)
    other = fit(rows, prior, begin, mask & ~chosen, memory=False, evaluations=12)
    error = errors(rows, other, chosen)
    print(line(f"-{name}", error), flush=True)
    return chosen, error


def fit_intervals(
    rows: Rows,
    fitted: dict[str, Any],
    usable: np.ndarray,
    held: np.ndarray,
    left_out: np.ndarray,
    held_out: np.ndarray,
) -> None:
    """Sets ``widths`` and ``boards``. An interval is for a run of another source than those
    of the tables, so each of these counts alike."""
    text = json.dumps(fitted)
    of_time = shares(rows, usable, text, KINDS, "seconds")
    few = [
        s
        for s in dict.fromkeys(rows.source[usable])
        if (rows.source[usable] == s).sum() < LEAST_ROWS
    ]
    weight = np.where(np.isin(rows.source, few), 0.0, weights(rows, usable, 0))
    found = fit_widths(of_time, np.log1p(left_out[usable]), weight[usable])
    of_bytes = shares(rows, held, text, BYTES, "bytes")
    of_held = weights(rows, held, 0)[held]
    memory = fit_widths(of_bytes, np.log1p(held_out[held]), of_held, LEVEL_OF_BYTES)
    fitted["widths"] = dict(
        zip([*KINDS, *BYTES, "unseen"], [*map(float, found), *map(float, memory), 0.0], strict=True)
    )
    fitted["boards"] = sorted({name for name in rows.cases.boards if name})
    unseen, parts = np.zeros(len(usable)), np.zeros(len(usable), bool)
    for name in sorted({name for name in rows.cases.architectures if name}):
        chosen, error = without_architecture(rows, fitted, usable, name)
        unseen[chosen], parts = error, parts | chosen
    compute = list(KINDS).index("compute")
    fitted["widths"]["unseen"] = width_besides(
        of_time[parts[usable]], found, compute, np.log1p(unseen[parts]), weight[parts]
    )


def line(title: str, error: np.ndarray) -> str:
    size = np.abs(error)
    return (
        f"{title:12s} {len(error):5d} median {100 * np.median(size):5.1f} %  "
        f"p90 {100 * np.quantile(size, 0.9):5.1f} %  bias {100 * np.median(error):+5.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="print errors, write nothing")
    options = parser.parse_args()
    rows = read(options.data)
    usable = rows.used & (rows.seconds > 0)
    start = json.loads(_core.layout_parameters())
    held = rows.used & (rows.peak_bytes > 0)
    fitted = fit(rows, TIME_PRIOR, start, usable, memory=False)
    fitted = fit(rows, MEMORY_PRIOR, fitted, held, memory=True)
    for source in dict.fromkeys(rows.source[usable]):
        chosen = usable & (rows.source == source)
        print(line(source, errors(rows, fitted, chosen)), flush=True)
    print(line("all", errors(rows, fitted, usable)))
    for source in dict.fromkeys(rows.source[held]):
        chosen = held & (rows.source == source)
        print(line(f"{source} bytes", errors(rows, fitted, chosen, memory=True)), flush=True)
    left_out = predict_left_out(rows, TIME_PRIOR, fitted, usable, memory=False)
    held_out = predict_left_out(rows, MEMORY_PRIOR, fitted, held, memory=True)
    fit_intervals(rows, fitted, usable, held, left_out, held_out)
    ids, measured = rows.ids[usable].tolist(), rows.seconds[usable]
    for title, error in (("fit", errors(rows, fitted, usable)), ("-all", left_out[usable])):
        predicted = ((1 + error) * measured).tolist()
        table = options.data / "training.csv"
        print(f"{title:12s} {rank_line(ids, predicted, measured.tolist(), table)}")
    if not options.check:
        TARGET.write_text(json.dumps(fitted, indent=2) + "\n")
    for name, (centre, _) in {**TIME_PRIOR, **MEMORY_PRIOR}.items():
        print(f"  {name}: {centre:.4g} -> {get(fitted, name):.4g}")
    print(f"  widths: {fitted['widths']}")


if __name__ == "__main__":
    main()
