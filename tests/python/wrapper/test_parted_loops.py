"""Loops that take another number of steps on each rank, under ``parallel-opt run``."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import run

HINT = "(end it by a number of steps, or let rank 0 look at the clock and broadcast what it finds)"
PARTED = """
import os, torch
from parallel_opt import OptimizedParallel
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}
model = OptimizedParallel(torch.nn.Linear(4, 2), **pins)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
mine = os.environ["RANK"] == "LONGER"
for step in range(3 + mine):
    optimizer.zero_grad()
    model(torch.ones(4, 4)).sum().backward()
    optimizer.step()
"""


@pytest.mark.parametrize("longer", [0, 1])
def test_ranks_that_take_other_numbers_of_steps_end_with_one_message(
    tmp_path: Path, longer: int
) -> None:
    done = run(tmp_path, PARTED.replace("LONGER", str(longer)), "--ranks", "2")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        f"error: the training loop: rank {longer} is in step 4, rank {1 - longer} has ended after "
        f"3 {HINT}"
    )


def test_one_rank_may_have_more_to_do_at_the_end(tmp_path: Path) -> None:
    script = PARTED.replace("LONGER", "-1") + (
        'if os.environ["RANK"] == "0":\n'
        "    model.eval()\n"
        "    with torch.no_grad():\n"
        "        print(tuple(model(torch.ones(1, 4)).shape))\n"
    )
    done = run(tmp_path, script, "--ranks", "2")
    assert (done.returncode, done.stdout) == (0, "(1, 2)\n"), done.stderr
