"""Runs test functions on several ranks: one pool of four worker processes for the whole session.

A test calls ``pool.run(function, size, ...)``: every rank of the first `size` workers imports the
function by name and calls ``function(group, ...)``; any failure is raised here with the rank's
traceback. A hung or failed pool is killed and started anew; one that never came up is not.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forks import FORKS

WORKERS = 4
TIMEOUT_S = 240.0  # many times what the longest takes: other tests and builds run beside it
GRACE_S = 10.0  # for the other ranks to report once one has failed


class RankError(AssertionError):
    """A rank raised, died or hung; the text has its traceback."""


class RankPool:
    """Four persistent gloo ranks. Starts at the first run."""

    def __init__(self) -> None:
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[multiprocessing.connection.Connection] = []
        self._folder = tempfile.TemporaryDirectory()
        self._starts = 0
        self._never_up = ""

    def run(self, function: Callable[..., Any], size: int, *args: Any, **kwargs: Any) -> list[Any]:
        """Results of ``function(group, *args, **kwargs)`` on ranks 0..size-1."""
        if not self._processes:
            self._start()
        task = (function.__module__, function.__qualname__, size, args, kwargs)
        for pipe in self._pipes[:size]:
            pipe.send(task)
        results, faults = self._collect(size)
        if faults:
            self.stop()
            raise RankError("\n".join(faults))
        return [results[rank] for rank in range(size)]

    def stop(self) -> None:
        """Kills the workers; the next run starts new ones."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()
        self._processes, self._pipes = [], []

    def close(self) -> None:
        """Ends the session: no run may follow."""
        self.stop()
        self._folder.cleanup()

    def _collect(self, size: int) -> tuple[dict[int, Any], list[str]]:
        results: dict[int, Any] = {}
        faults: list[str] = []
        waiting = {self._pipes[rank]: rank for rank in range(size)}
        while waiting:
            wait_s = GRACE_S if faults else TIMEOUT_S
            ready = multiprocessing.connection.wait(list(waiting), timeout=wait_s)
            if not ready:
                faults.append(f"ranks {sorted(waiting.values())} did not answer in {wait_s:.0f} s")
                break
            for pipe in ready:
                rank = waiting.pop(pipe)  # type: ignore[call-overload]
                try:
                    good, value = self._pipes[rank].recv()
                except EOFError:
                    good, value = False, "the process died"
                if good:
                    results[rank] = value
                else:
                    faults.append(f"rank {rank}:\n{value}")
        return results, faults

    def _start(self) -> None:
        if self._never_up:
            raise RankError(self._never_up)
        self._starts += 1
        meeting = str(Path(self._folder.name) / f"store{self._starts}")
        for rank in range(WORKERS):
            here, there = FORKS.Pipe()
            process = FORKS.Process(target=work, args=(rank, meeting, there), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)
        _, faults = self._collect(WORKERS)
        if faults:
            self.stop()
            self._never_up = "\n".join(("the pool of ranks does not start:", *faults))
            raise RankError(self._never_up)


def work(rank: int, meeting: str, pipe: multiprocessing.connection.Connection) -> None:
    """The life of one worker: join, then answer tasks until the pipe closes."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import datetime
    import random

    import numpy
    import torch
    import torch.distributed as dist

    from parallel_opt.engine import process_group

    torch.set_num_threads(1)
    # Ranks begin alike, whichever test comes first: the launcher seeds them so as well.
    random.seed(0)
    numpy.random.seed(0)
    dist.init_process_group(
        "gloo",
        store=dist.FileStore(meeting, WORKERS),
        rank=rank,
        world_size=WORKERS,
        timeout=datetime.timedelta(seconds=TIMEOUT_S),
    )
    cpu = torch.device("cpu")
    groups = {n: process_group.subgroup(range(n), cpu) for n in range(1, WORKERS + 1)}
    pipe.send((True, None))
    while True:
        try:
            module, name, size, args, kwargs = pipe.recv()
        except EOFError:
            break
        faulthandler.dump_traceback_later(TIMEOUT_S - 5, file=sys.__stderr__)
        try:
            function = getattr(importlib.import_module(module), name)
            answer = (True, function(groups[size], *args, **kwargs))
        except BaseException:
            answer = (False, traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()
        pipe.send(answer)
    process_group.finish()
