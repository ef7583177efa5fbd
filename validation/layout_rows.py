"""Published training, memory and out-of-memory rows as the cost model reads them."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parallel_opt import _core

TEXT = (
    *("id", "gpu", "gpu_family", "interconnect", "framework", "workload", "model_name", "dtype"),
    *("fsdp_zero", "sequence_parallel", "recompute", "notes"),
)
NUMBERS = (
    *("gpus", "gpus_per_node", "params_b", "layers", "hidden", "heads", "kv_heads", "ffn_hidden"),
    *("vocab", "seq_len", "experts", "topk", "tp", "pp", "vp", "cp", "ep", "dp"),
    *("micro_batch", "grad_accum", "global_batch"),
)
GIB = float(2**30)


def number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def row_json(row: dict[str, str]) -> str:
    """A row of a table as the core's TrainingRow."""
    document: dict[str, Any] = {key: row.get(key) or "" for key in TEXT}
    document["source"] = row["id"].split("-")[0]
    for key in NUMBERS:
        value = number(row.get(key))
        if value is not None:
            document[key] = value
    return json.dumps(document)


def iteration_s(row: dict[str, str]) -> float | None:
    """Seconds per iteration: as printed, else from tokens/s per GPU, else from samples/s."""
    printed = number(row["metric_iter_time_s"])
    if printed:
        return printed
    micro, data = number(row["micro_batch"]), number(row["dp"])
    batch = number(row["global_batch"])
    if batch is None and micro and data:
        batch = micro * data * (number(row["grad_accum"]) or 1)
    tokens, gpus = number(row["metric_tokens_per_s_per_gpu"]), number(row["gpus"])
    seq = number(row["seq_len"]) or (8192.0 if row["id"].startswith("titan") else None)
    if tokens and gpus and batch and seq:
        return batch * seq / (tokens * gpus)
    samples = number(row["metric_samples_per_s"])
    return batch / samples if samples and batch else None


def _unit(row: dict[str, str]) -> float:
    """nanotron prints bytes / 1024**3 and calls them GB (its "Mem Alloc (GB)")."""
    binary = row["memory_unit"] == "GiB" or row["training_id"].startswith("nano")
    return GIB if binary else 1e9


@dataclass
class Rows:
    """Cases with what was measured of them; 0 where nothing was."""

    cases: _core.RowCases
    table: list[dict[str, str]]
    source: np.ndarray
    seconds: np.ndarray
    peak_bytes: np.ndarray
    infeasible: np.ndarray

    @property
    def used(self) -> np.ndarray:
        return np.array([not why for why in self.cases.skipped])

    def column(self, name: str) -> np.ndarray:
        return np.array([number(row.get(name)) or 0.0 for row in self.table])


OWN = Path(__file__).resolve().parent.parent / "bench/results"
"""Measurements of our own, in the same columns."""


def read(directory: Path) -> Rows:
    """training.csv with the peaks of memory.csv, our own rows, and infeasible.csv behind them."""

    def rows_of(path: Path) -> list[dict[str, str]]:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def table(name: str) -> list[dict[str, str]]:
        own = [row for path in sorted(OWN.glob(f"*/{name}")) for row in rows_of(path)]
        return rows_of(directory / name) + own

    training, failed = table("training.csv"), table("infeasible.csv")
    peaks: dict[str, float] = {}
    for row in table("memory.csv"):
        value = number(row["peak_memory_gb"])
        if value and row.get("training_id"):
            peaks[row["training_id"]] = value * _unit(row)
    rows = training + failed
    count = len(training)
    return Rows(
        _core.RowCases([row_json(row) for row in rows]),
        rows,
        np.array([row["id"].split("-")[0] for row in rows]),
        np.array([iteration_s(row) or 0.0 for row in training] + [0.0] * len(failed)),
        np.array([peaks.get(row["id"], 0.0) for row in training] + [0.0] * len(failed)),
        np.array([False] * count + [True] * len(failed)),
    )
