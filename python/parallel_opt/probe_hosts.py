"""Measurements of one host's memory and transfers, seconds apart, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from parallel_opt.probe_timing import known_spread

Document = dict[str, Any]

QUIET = 0.25  # which of the fits of a link counts: the fastest one may have met no wake-up
UNSTEADY = 0.25
"""Interquartile range over median above which a machine was not the probe's alone."""


def merged_hosts(sets: Sequence[Document]) -> tuple[Document, list[str]]:
    """Of each rate and link what the quieter moments show (see probe_timing), with its spread; and
    what was unsteady, at the largest size of each curve. Pre: of the same device."""
    if not sets:
        return {}, []
    merged: Document = dict(sets[0])
    unsteady: dict[str, float] = {}
    curve_key, link_key = ("kernel", "dtype", "threads"), ("a", "b", "type")
    merged["rates"] = [
        _curve(_same(curve, [one["rates"] for one in sets], curve_key), unsteady)
        for curve in merged.get("rates", [])
    ]
    merged["links"] = [
        _link(_same(link, [one["links"] for one in sets], link_key), unsteady)
        for link in merged.get("links", [])
    ]
    notes = [
        f"probe: {name} varied by {100 * change:.0f} % within the probe: others use the machine"
        for name, change in unsteady.items()
    ]
    return merged, notes


def _same(
    one: Document, lists: Sequence[Sequence[Document]], keys: Sequence[str]
) -> list[Document]:
    """The like of ``one`` in each list that has it."""
    key = [one.get(name) for name in keys]
    return [o for others in lists for o in others if [o.get(name) for name in keys] == key]


def _curve(curves: Sequence[Document], unsteady: dict[str, float]) -> Document:
    first = curves[0]
    points = []
    scatter: float | None = None
    for point in first["points"]:
        size = point["size"]
        rates = [p["per_s"] for curve in curves for p in curve["points"] if p["size"] == size]
        points.append({**point, "per_s": max(rates)})
        scatter = known_spread(rates)
    _note(f"{first['kernel']} bandwidth", scatter, unsteady)
    return {**first, "points": points} | ({} if scatter is None else {"spread": scatter})


def _link(links: Sequence[Document], unsteady: dict[str, float]) -> Document:
    first = links[0]
    rates = [link["bytes_per_s"]["value"] for link in links]
    _note(f"{first['type']} bandwidth", known_spread(rates), unsteady)
    return {
        **first,
        "bytes_per_s": _quiet([link["bytes_per_s"] for link in links], 1 - QUIET),
        "latency_s": _quiet([link["latency_s"] for link in links], QUIET),
    }


def _quiet(numbers: Sequence[Document], share: float) -> Document:
    """The number at that share of the order, with its own interval."""
    ordered = sorted(numbers, key=lambda number: float(number["value"]))
    return ordered[round(share * (len(ordered) - 1))]


def _note(name: str, scatter: float | None, unsteady: dict[str, float]) -> None:
    if scatter is not None and scatter > UNSTEADY:
        unsteady[name] = max(scatter, unsteady.get(name, 0.0))
