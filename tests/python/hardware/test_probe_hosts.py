"""probe_hosts.py: one host from several moments, and what varied between them."""

from __future__ import annotations

from typing import Any

import pytest

from parallel_opt.probe_hosts import merged_hosts


def host(memory: float, small: float, loopback: float, latency: float) -> dict[str, Any]:
    return {
        "rates": [
            {
                "kernel": "memory",
                "threads": 1,
                "points": [{"size": 1e3, "per_s": small}, {"size": 1e8, "per_s": memory}],
            }
        ],
        "links": [
            {
                "a": 0,
                "b": 0,
                "type": "loopback",
                "bytes_per_s": {"value": loopback, "low": 0.9 * loopback},
                "latency_s": {"value": latency, "low": 0.9 * latency},
            }
        ],
        "notes": ["first"],
    }


def test_each_number_is_that_of_the_quieter_moments() -> None:
    memory, loopback = (100.0, 105.0, 60.0, 104.0, 103.0), (50.0, 49.0, 48.0, 20.0, 47.0)
    hosts = [
        host(m, 9.0 + i, rate, (3 + i) * 1e-6)
        for i, (m, rate) in enumerate(zip(memory, loopback, strict=True))
    ]
    merged, varied = merged_hosts(hosts)
    # The largest rates of memory; of links the second of five fits.
    assert [p["per_s"] for p in merged["rates"][0]["points"]] == [13.0, 105.0]
    link = merged["links"][0]
    assert link["bytes_per_s"] == {"value": 49.0, "low": 0.9 * 49.0}
    assert link["latency_s"]["value"] == 4e-6
    assert merged["notes"] == ["first"]
    assert merged["rates"][0]["spread"] == pytest.approx((104 - 100) / 103)
    assert varied == []  # half of them lie close together


def test_what_varied_is_told() -> None:
    hosts = [host(m, 9.0, rate, 3e-6) for m, rate in ((100.0, 50.0), (200.0, 60.0), (150.0, 55.0))]
    _, varied = merged_hosts(hosts)
    # (175 - 125) / 150; loopback (57.5 - 52.5) / 55 is steady enough
    assert varied == [
        "probe: memory bandwidth varied by 33 % within the probe: others use the machine"
    ]


def test_a_curve_that_the_second_lacks_stays() -> None:
    first, second = host(100.0, 9.0, 50.0, 3e-6), host(1.0, 1.0, 1.0, 1.0)
    second["rates"], second["links"] = [], []
    merged, varied = merged_hosts([first, second])
    # One moment tells nothing of how they scatter: no spread, rather than none of it.
    assert merged["rates"] == first["rates"]
    assert "spread" not in merged["rates"][0]
    assert (merged["links"], varied) == (first["links"], [])
    assert merged_hosts([]) == ({}, [])
