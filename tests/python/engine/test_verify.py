"""Turns of plan and fallback, and what is kept in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parallel_opt._core import Estimate
from parallel_opt.engine.verify import (
    BEGIN_AFTER,
    CHECKED_AFTER,
    STEPS_PER_TURN,
    Verification,
    is_better,
)


def estimate(step_s: float, energy_j: float | None = None) -> Estimate:
    def number(value: float) -> dict[str, Any]:
        return {"value": value, "low": value, "high": value, "quality": "modelled"}

    document: dict[str, Any] = {
        "step_time_s": number(step_s),
        "samples_per_s": number(1 / step_s),
        "peak_memory_bytes": number(1.0),
        "items": [],
    }
    if energy_j is not None:
        document["energy_j"] = number(energy_j)
    return Estimate.from_json(json.dumps(document), "estimate")


def finished(plan_s: float, plain_s: float) -> Verification:
    verification = Verification()
    while not verification.done:
        verification.step_ended(plain_s if verification.next_is_plain() else plan_s)
    return verification


def test_turns_alternate_and_the_fallback_begins() -> None:
    verification = Verification()
    turns = []
    for _ in range(CHECKED_AFTER):
        turns.append("f" if verification.next_is_plain() else "p")
        verification.step_ended(1.0)
    assert "".join(turns) == "p" * BEGIN_AFTER + 3 * ("f" * STEPS_PER_TURN + "p" * STEPS_PER_TURN)


def test_steps_that_pay_for_a_change_are_no_steps_of_the_plan() -> None:
    verification = Verification()
    counted = []
    for _ in range(CHECKED_AFTER):
        counted.append(verification.next_counts())
        verification.step_ended(1.0)
    turn = [False] * STEPS_PER_TURN + [False] + [True] * (STEPS_PER_TURN - 1)
    assert counted == [True] * BEGIN_AFTER + 3 * turn


def test_text_names_what_was_compared() -> None:
    # 20 / 10 = 2; three turns of four steps each, the first of each not counted: 9
    text = finished(plan_s=0.010, plain_s=0.020).text("plain PyTorch")
    assert text == (
        "checked on 9 real steps each: 2.00 x the speed of plain PyTorch (10.0 ms against 20.0 ms)"
    )


def test_steps_that_vary_leave_a_doubt() -> None:
    # Equal steps leave none. Nine steps of 80 to 120: quantiles of 20 and 80 % are 90 and 110, so
    # 1.91 * 10 / 100 / 3 = 0.0637 for each side, hypot 0.0900.
    assert finished(plan_s=0.010, plain_s=0.020).doubt() == 0.0
    varied = [80.0, 85.0, 90.0, 95.0, 100.0, 105.0, 110.0, 115.0, 120.0]
    assert Verification(plain_s=varied, plan_s=varied).doubt() == pytest.approx(0.0900, abs=1e-4)
    wild = [1.0, 50.0, 100.0, 500.0]
    assert Verification(plain_s=wild, plan_s=wild).doubt() == 0.15


def test_time_decides_when_time_is_the_objective() -> None:
    plan, plain = estimate(1.0, 1.0), estimate(1.0, 99.0)
    assert is_better(1.01, plan, plain, "time", 0.05)
    assert not is_better(0.99, plan, plain, "time", 0.05)


def test_energy_is_power_times_time() -> None:
    # The plan draws 10 J / 1 s = 10 W, the fallback 24 J / 2 s = 12 W. At 0.96 x the speed the
    # fallback needs 12 * 0.96 = 11.5 J for each 10 J of the plan: 4 % slower is allowed.
    plan, plain = estimate(1.0, 10.0), estimate(2.0, 24.0)
    assert is_better(0.96, plan, plain, "energy", 0.05)
    # 1 / 0.94 - 1 = 6.4 % slower: more than the user allows
    assert not is_better(0.94, plan, plain, "energy", 0.05)
    # at 0.8 x the speed: 12 * 0.8 = 9.6 J, less than the plan's
    assert not is_better(0.80, plan, plain, "energy", 1.0)


def test_energy_delay_product_counts_time_twice() -> None:
    # 12 W against 10 W: 1.2 * 0.92^2 = 1.016 > 1, 1.2 * 0.91^2 = 0.994 < 1
    plan, plain = estimate(1.0, 10.0), estimate(1.0, 12.0)
    assert is_better(0.92, plan, plain, "edp", 0.5)
    assert not is_better(0.91, plan, plain, "edp", 0.5)


def test_without_watts_energy_follows_time() -> None:
    assert is_better(1.01, estimate(1.0), estimate(1.0), "energy", 0.05)
    assert not is_better(0.99, estimate(1.0), estimate(1.0), "energy", 0.05)


@pytest.mark.parametrize("name", ["plain_s", "plan_s"])
def test_first_step_of_a_turn_is_not_counted(name: str) -> None:
    assert len(getattr(finished(1.0, 1.0), name)) == 3 * (STEPS_PER_TURN - 1)
