"""How well predictions rank the rows that differ in their layout alone, as `accuracy` counts it."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

COLUMNS = ("model_name", "gpus", "global_batch")


def group_of(row: dict[str, str]) -> tuple[str, ...]:
    """Source, release of the software, model, devices and global batch."""
    notes = row.get("notes", "")
    release = notes.split(";")[0] if notes.startswith("container ") else ""
    return (row["id"].split("-")[0], release, *(row.get(name, "") for name in COLUMNS))


def groups(table: Path) -> dict[str, tuple[str, ...]]:
    """The group of every row of ``table``, by id."""
    with table.open(encoding="utf-8", newline="") as file:
        return {row["id"]: group_of(row) for row in csv.DictReader(file)}


def rank_line(ids: list[str], predicted: list[float], measured: list[float], table: Path) -> str:
    """Median Spearman over groups of at least 3 rows, mean and worst regret over those of 2."""
    known = groups(table)
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, name in enumerate(ids):
        if name in known:
            members[known[name]].append(place)
    ranks, regrets = [], []
    for places in members.values():
        if len(places) < 2:
            continue
        seconds = np.array([measured[place] for place in places])
        guesses = np.array([predicted[place] for place in places])
        regrets.append(seconds[guesses == guesses.min()].mean() / seconds.min() - 1)
        if len(places) >= 3 and np.ptp(seconds) > 0 and np.ptp(guesses) > 0:
            ranks.append(float(spearmanr(guesses, seconds).statistic))
    return (
        f"median Spearman {np.median(ranks):.3f} of {len(ranks)} groups, regret mean "
        f"{100 * np.mean(regrets):.1f} %, worst {100 * np.max(regrets):.1f} %"
    )
