"""Ranks that end at different steps: a loop that runs until a time by the clock, say.

A rank that goes on would wait for the others' part of its step until the group's timeout. So each
rank that ends tells how many steps it has taken, and one that has begun a later step stops.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from typing import Any

from parallel_opt.errors import InputError

INTERVAL_S = 1.0
PATIENCE = datetime.timedelta(days=1)
"""A rank may have much to do alone when the others are through; one that dies ends them all."""

_watched: list[tuple[Any, int, int, threading.Event]] = []

_taken: dict[str, int] = {}
"""Training forwards that the ranks share, by the name of the engine, alike on all of them."""


def count(engine: int, forwards: int) -> None:
    """This rank begins its training forward number `forwards`."""
    _taken[str(engine)] = forwards


def watch(
    store: Any,
    rank: int,
    size: int,
    stop: Callable[[InputError], None],
    interval_s: float = INTERVAL_S,
) -> None:
    """Looks every `interval_s` whether a rank has ended that this one needs, from a thread of its
    own, for the script's waits. Calls `stop` then."""
    if store is None:  # nobody to ask
        return
    over = threading.Event()
    _watched.append((store, rank, size, over))

    def look() -> None:
        others = [other for other in range(size) if other != rank]
        while others and not over.wait(interval_s):
            try:
                ended = [other for other in others if store.check([_key(other)])]
                faults = [fault_of(store, rank, other) for other in ended]
            except Exception:  # the store is gone, and so is the run
                return
            for fault in faults:
                if fault is not None:
                    stop(fault)
                    return

    threading.Thread(target=look, name="parallel_opt endings", daemon=True).start()


def fault_of(store: Any, rank: int, ended: int) -> InputError | None:
    """What is wrong when the rank `ended` has taken fewer steps than this one has begun."""
    theirs = json.loads(store.get(_key(ended)))
    for engine, mine in dict(_taken).items():
        if mine > theirs.get(engine, 0):
            return InputError(
                "the training loop",
                f"rank {rank} is in step {mine}, rank {ended} has ended after "
                f"{theirs.get(engine, 0)}",
                "end it by a number of steps, or let rank 0 look at the clock and broadcast what "
                "it finds",
            )
    return None


def wait_for_all(timeout: datetime.timedelta = PATIENCE) -> None:
    """Tells that this rank has ended, and waits until all have. Nothing where none watches."""
    while _watched:
        store, rank, size, over = _watched.pop()
        over.set()
        store.set(_key(rank), json.dumps(_taken))
        store.wait([_key(other) for other in range(size)], timeout)


def _key(rank: int) -> str:
    return f"parallel_opt/ended/{rank}"
