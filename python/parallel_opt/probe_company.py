"""Other cores at work while some are timed.

A rank of one thread trains beside ranks on the other cores. They share memory, the last cache,
clocks and, on many rented machines, the units of a core: timed alone, one core of such a machine
showed 1.65 to 1.9 times what two ranks found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

MOST_THREADS = 15  # each takes the interpreter's lock for microseconds of every call
WIDTH, ELEMENTS = 512, 1 << 20  # calls of milliseconds: the lock is free meanwhile


@contextmanager
def company(threads: int, *, arithmetic: bool) -> Iterator[None]:
    """``threads`` cores multiply matrices, or stream through memory, until the block ends. Pre: the
    caller has set torch to one thread per call, and sets it back."""
    stop = threading.Event()
    count = min(threads, MOST_THREADS)
    begun = threading.Barrier(count + 1)

    def work() -> None:
        torch.set_num_threads(1)  # of this thread
        with torch.no_grad():
            try:
                call = _products() if arithmetic else _stream()
                call()
            except RuntimeError:  # no memory: whoever waits is told
                begun.abort()
                raise
            begun.wait()
            while not stop.is_set():
                call()

    others = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for other in others:
            other.start()
        begun.wait()
        yield
    finally:
        stop.set()
        for other in others:
            other.join()


def _products() -> Callable[[], object]:
    a, b, out = (torch.full((WIDTH, WIDTH), 0.5) for _ in range(3))
    return lambda: torch.mm(a, b, out=out)


def _stream() -> Callable[[], object]:
    a, b, out = (torch.full((ELEMENTS,), 0.5) for _ in range(3))
    return lambda: torch.mul(a, b, out=out)
