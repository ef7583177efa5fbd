"""Published training, memory and out-of-memory rows as the cost model reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parallel_opt import _core

TABLES = ("training.csv", "memory.csv", "infeasible.csv")
OWN = Path(__file__).resolve().parent.parent / "bench/results"
"""Measurements of our own, in the same columns."""


@dataclass
class Rows:
    """Cases with what was measured of them; 0 where nothing was."""

    cases: _core.RowCases
    ids: np.ndarray
    source: np.ndarray
    devices: np.ndarray
    seconds: np.ndarray
    peak_bytes: np.ndarray

    @property
    def used(self) -> np.ndarray:
        return np.array([not why for why in self.cases.skipped])


def read(directory: Path) -> Rows:
    """The tables of ``directory``, our own rows behind them."""
    found = [directory / name for name in TABLES]
    paths = [path for path in found if path.exists()] + sorted(OWN.glob("*/*.csv"))
    tables = [(path.name, path.read_text(encoding="utf-8")) for path in paths]
    cases = _core.RowCases.of_tables([t for t in tables if t[0] in TABLES])
    return Rows(
        cases,
        np.array(cases.ids),
        np.array(cases.sources),
        np.array(cases.devices),
        np.array(cases.seconds),
        np.array(cases.peak_bytes),
    )
