"""How long this process's threads were ready to run and had no core.

What a machine takes for a call is measured where nobody else wants its cores. Linux counts for
every thread how long it waited in a run queue (/proc/PID/task/TID/schedstat, the second number, in
nanoseconds: the kernel's sched-stats.rst); clocks alone show that something was slow, not why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

TASKS = Path("/proc/self/task")
ALONE = 0.03  # of the threads' time: a quiet machine's own daemons take less


def waited_s() -> dict[str, float]:
    """Seconds by thread, since it began; empty where the kernel does not count them."""
    found: dict[str, float] = {}
    try:
        threads = list(TASKS.iterdir())
    except OSError:
        return found
    for thread in threads:
        try:
            numbers = (thread / "schedstat").read_text(encoding="ascii").split()
        except OSError:  # ended meanwhile, or not counted
            continue
        if len(numbers) > 1:
            found[thread.name] = int(numbers[1]) * 1e-9
    return found


@dataclass
class Watch:
    """From its making on."""

    waited: dict[str, float] = field(default_factory=waited_s)
    begin: float = field(default_factory=time.perf_counter)

    def share(self, threads: int) -> float:
        """Of the time of so many threads, what was waiting; 0 where nobody counts."""
        elapsed = time.perf_counter() - self.begin
        # A thread that is new has waited since it began.
        waited = sum(s - self.waited.get(thread, 0.0) for thread, s in waited_s().items())
        return waited / (elapsed * max(1, threads)) if elapsed > 0 else 0.0

    def was_alone(self, threads: int) -> bool:
        return self.share(threads) <= ALONE
