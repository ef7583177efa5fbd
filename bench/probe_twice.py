"""Question: does a probe say the same twice? Budget: within 10 % at the largest size of each curve.

One argument: seconds of one probe (30).
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from parallel_opt import probe


def rates(budget_s: float) -> tuple[dict[str, float], bool]:
    """The rate of every curve at its largest size, of every link, and of launches."""
    sets, _ = probe.run(budget_s=budget_s)
    found: dict[str, float] = {}
    for one in sets:
        for curve in one["rates"]:
            threads = "all cores" if curve["threads"] == 0 else "one core"
            largest = curve["points"][-1]
            name = f"{curve['kernel']} {curve.get('dtype', '')}, {threads}, {largest['size']:.3g}"
            found[name] = largest["per_s"]
        for link in one["links"]:
            found[f"link {link['type']}"] = link["bytes_per_s"]["value"]
        for name in ("launch_s", "launch_autograd_s"):
            found[name] = 1 / one[name]["value"]
    return found, any(bool(one.get("busy")) for one in sets)


def main(arguments: list[str]) -> int:
    budget_s = float(arguments[0]) if arguments else probe.BUDGET_S
    first, busy_first = rates(budget_s)
    second, busy_second = rates(budget_s)
    rows: list[tuple[float, str, Any]] = [
        (second[name] / rate - 1, name, rate) for name, rate in first.items() if name in second
    ]
    for change, name, rate in sorted(rows, key=lambda row: -abs(row[0])):
        print(f"{name:<50} {rate:12.4g} {change:+7.1%}")
    changes = [abs(change) for change, _, _ in rows]
    within = sum(change <= 0.1 for change in changes)
    print(f"{within} of {len(rows)} within 10 %, median {median(changes):.1%}, ", end="")
    print(f"largest {max(changes):.1%}, machine busy: {busy_first or busy_second}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
