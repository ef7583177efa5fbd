"""probe_hosts.py: the faster of two measurements, and what varied between them."""

from __future__ import annotations

from typing import Any

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


def test_each_number_is_the_faster_of_two() -> None:
    merged, varied = merged_hosts([host(100.0, 9.0, 50.0, 3e-6), host(105.0, 8.0, 49.0, 2e-6)])
    assert [p["per_s"] for p in merged["rates"][0]["points"]] == [9.0, 105.0]
    link = merged["links"][0]
    assert link["bytes_per_s"] == {"value": 50.0, "low": 45.0}
    assert link["latency_s"]["value"] == 2e-6
    assert merged["notes"] == ["first"]
    assert varied == []  # 5 %, and the small size says nothing of the bandwidth


def test_what_varied_is_told() -> None:
    _, varied = merged_hosts([host(100.0, 9.0, 50.0, 3e-6), host(200.0, 9.0, 60.0, 3e-6)])
    assert varied == [
        "probe: memory bandwidth varied by 100 % within the probe: others use the machine",
        "probe: loopback bandwidth varied by 20 % within the probe: others use the machine",
    ]


def test_a_curve_that_the_second_lacks_stays() -> None:
    first, second = host(100.0, 9.0, 50.0, 3e-6), host(1.0, 1.0, 1.0, 1.0)
    second["rates"], second["links"] = [], []
    merged, varied = merged_hosts([first, second])
    assert (merged["rates"], merged["links"], varied) == (first["rates"], first["links"], [])
    assert merged_hosts([]) == ({}, [])
