"""Two measurements of one host's memory and transfers, minutes or seconds apart, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

STEADY = 0.1
"""Rates that differ by more within one probe are not this machine's alone."""


def merged_hosts(sets: Sequence[Document]) -> tuple[Document, list[str]]:
    """The faster of each rate and link, since others on a machine only ever add time; and what
    varied by more than STEADY, at the largest size of each curve. Pre: of the same device."""
    if not sets:
        return {}, []
    merged: Document = dict(sets[0])
    varied: dict[str, float] = {}
    for later in sets[1:]:
        merged["rates"] = [
            _faster_curve(
                curve, _same(curve, later["rates"], ("kernel", "dtype", "threads")), varied
            )
            for curve in merged.get("rates", [])
        ]
        merged["links"] = [
            _faster_link(link, _same(link, later["links"], ("a", "b", "type")), varied)
            for link in merged.get("links", [])
        ]
    notes = [
        f"probe: {name} varied by {100 * change:.0f} % within the probe: others use the machine"
        for name, change in varied.items()
    ]
    return merged, notes


def _same(one: Document, others: Sequence[Document], keys: Sequence[str]) -> Document | None:
    key = [one.get(name) for name in keys]
    return next((o for o in others if [o.get(name) for name in keys] == key), None)


def _note(name: str, first: float, second: float, varied: dict[str, float]) -> None:
    change = max(first, second) / min(first, second) - 1
    if change > STEADY:
        varied[name] = max(change, varied.get(name, 0.0))


def _faster_curve(curve: Document, later: Document | None, varied: dict[str, float]) -> Document:
    if later is None:
        return curve
    rates = {point["size"]: point["per_s"] for point in later["points"]}
    largest = curve["points"][-1]
    if largest["size"] in rates:
        _note(f"{curve['kernel']} bandwidth", largest["per_s"], rates[largest["size"]], varied)
    points = [
        {**point, "per_s": max(point["per_s"], rates.get(point["size"], 0.0))}
        for point in curve["points"]
    ]
    return {**curve, "points": points}


def _faster_link(link: Document, later: Document | None, varied: dict[str, float]) -> Document:
    if later is None:
        return link
    rate, again = link["bytes_per_s"], later["bytes_per_s"]
    _note(f"{link['type']} bandwidth", rate["value"], again["value"], varied)
    return {
        **link,
        "bytes_per_s": max(rate, again, key=lambda found: found["value"]),
        "latency_s": min(link["latency_s"], later["latency_s"], key=lambda found: found["value"]),
    }
