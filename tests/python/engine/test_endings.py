"""A loop that ends at another step on each rank stops with one message, and does not hang."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from parallel_opt.engine import endings
from parallel_opt.errors import InputError

HINT = "(end it by a number of steps, or let rank 0 look at the clock and broadcast what it finds)"


@pytest.fixture(autouse=True)
def nothing_taken() -> Iterator[None]:
    before = dict(endings._taken)
    endings._taken.clear()
    yield
    endings._taken.clear()
    endings._taken.update(before)


@pytest.fixture
def store() -> dist.Store:
    return dist.HashStore()  # type: ignore[attr-defined, no-any-return]


def end_after(store: dist.Store, rank: int, steps: int) -> None:
    """Another rank of two ends."""
    mine = dict(endings._taken)
    endings.count(7, steps)
    store.set(f"parallel_opt/ended/{1 - rank}", "{}")  # this one need not wait
    endings.watch(store, rank, 2, lambda fault: None)
    endings.wait_for_all()
    store.delete_key(f"parallel_opt/ended/{1 - rank}")
    endings._taken.clear()
    endings._taken.update(mine)


@pytest.mark.parametrize(("mine", "text"), [(4, "is in step 4"), (3, ""), (2, "")])
def test_a_rank_that_needs_one_that_has_ended_is_told(
    store: dist.Store, mine: int, text: str
) -> None:
    endings.count(7, mine)
    end_after(store, 0, 3)
    fault = endings.fault_of(store, 1, 0)
    expected = f"the training loop: rank 1 {text}, rank 0 has ended after 3 {HINT}"
    assert str(fault) == expected if text else fault is None


def test_a_model_that_the_other_rank_never_ran_counts(store: dist.Store) -> None:
    end_after(store, 0, 3)
    endings.count(8, 1)
    fault = endings.fault_of(store, 1, 0)
    assert str(fault) == (
        f"the training loop: rank 1 is in step 1, rank 0 has ended after 0 {HINT}"
    )


def test_the_watch_stops_a_rank_that_waits(store: dist.Store) -> None:
    stopped: list[InputError] = []
    told = threading.Event()

    def stop(fault: InputError) -> None:
        stopped.append(fault)
        told.set()

    endings.count(7, 5)
    endings.watch(store, 1, 2, stop, interval_s=0.001)
    assert endings._watched[-1][1] == 1
    store.set("parallel_opt/ended/0", '{"7": 4}')
    assert told.wait(30)
    assert [str(fault).partition(" (")[0] for fault in stopped] == [
        "the training loop: rank 1 is in step 5, rank 0 has ended after 4"
    ]
    endings.wait_for_all(datetime.timedelta(seconds=30))
    assert endings._watched == []


def test_a_rank_without_a_store_is_not_watched() -> None:
    endings.watch(None, 0, 2, lambda fault: None)
    endings.wait_for_all()
