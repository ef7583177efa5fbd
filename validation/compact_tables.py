"""Writes validation/tables/ from the tables of published measurements.

``python validation/compact_tables.py --data DIR``: DIR holds training.csv, memory.csv and
infeasible.csv (columns: docs/accuracy.md). Kept is what `parallel-opt accuracy` reads, as printed:
no number is rounded or filled in. What a source says of all its rows alike stands in
tables/SOURCES.md instead of 1,440 times in a column.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

TABLES = Path(__file__).parent / "tables"
LAYOUT = [
    *("gpu", "gpu_family", "gpus", "gpus_per_node", "interconnect", "framework", "workload"),
    *("model_name", "params_b", "layers", "hidden", "heads", "kv_heads", "ffn_hidden", "vocab"),
    *("seq_len", "experts", "topk", "dtype", "tp", "pp", "vp", "cp", "ep", "dp", "fsdp_zero"),
    *("sequence_parallel", "recompute", "micro_batch", "grad_accum", "global_batch"),
]
TIMES = ["metric_iter_time_s", "metric_tokens_per_s_per_gpu", "metric_samples_per_s"]
TRAINING = ["id", *LAYOUT, *TIMES, "peak_memory_gb", "memory_unit", "notes"]
FAILURES = ["id", "source", *LAYOUT, "status", "notes"]

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: list[str], rows: list[Row]) -> None:
    """Columns that no row fills are left out."""
    kept = [c for c in columns if any(row.get(c) for row in rows)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path.name}: {len(rows)} rows, {len(kept)} columns, {path.stat().st_size} bytes")


def shared_notes(rows: list[Row]) -> dict[str, str]:
    """By source: the note that is the same on every row of it, where it has more than 100."""
    notes: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for row in rows:
        source = row["id"].split("-")[0]
        notes.setdefault(source, set()).add(row["notes"])
        counts[source] = counts.get(source, 0) + 1
    return {s: n.pop() for s, n in notes.items() if len(n) == 1 and counts[s] > 100}


def compact_training(training: list[Row], memory: list[Row]) -> list[Row]:
    peaks = {row["training_id"]: row for row in memory}
    shared = shared_notes(training)
    rows = []
    for row in training:
        kept = dict(row)
        peak = peaks.get(row["id"])
        if peak is not None:
            kept["peak_memory_gb"] = peak["peak_memory_gb"]
            kept["memory_unit"] = peak["memory_unit"].removesuffix(" as printed")
        if row["metric_iter_time_s"]:  # the rates were worked out from it, or it from them
            kept["metric_tokens_per_s_per_gpu"] = kept["metric_samples_per_s"] = ""
        if row["id"].split("-")[0] in shared:
            kept["notes"] = ""
        rows.append(kept)
    return rows


def compact_failures(failures: list[Row]) -> list[Row]:
    return [{**row, "source": row["source"].split(" (copy")[0]} for row in failures]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write validation/tables/.")
    parser.add_argument("--data", type=Path, required=True, help="directory of the whole tables")
    data: Path = parser.parse_args().data
    training = compact_training(read(data / "training.csv"), read(data / "memory.csv"))
    TABLES.mkdir(exist_ok=True)
    write(TABLES / "training.csv", TRAINING, training)
    write(TABLES / "infeasible.csv", FAILURES, compact_failures(read(data / "infeasible.csv")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
