"""run_queue.py: whether others took this process's cores."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from parallel_opt import run_queue
from parallel_opt.run_queue import Watch, waited_s


def _threads_in(tmp_path: Path, waited_ns: dict[str, int]) -> None:
    for thread, waited in waited_ns.items():
        (tmp_path / thread).mkdir(exist_ok=True)
        (tmp_path / thread / "schedstat").write_text(f"123456 {waited} 7\n")


def test_waits_are_those_of_all_threads_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_queue, "TASKS", tmp_path)
    _threads_in(tmp_path, {"1": 1_000_000_000, "2": 0})
    watch = Watch(begin=time.perf_counter() - 2.0)
    assert watch.share(2) == pytest.approx(0.0, abs=1e-6)
    _threads_in(tmp_path, {"1": 1_200_000_000, "2": 100_000_000, "3": 100_000_000})  # 3 is new
    assert watch.share(2) == pytest.approx(0.4 / 4, rel=0.05)
    assert not watch.was_alone(2)
    assert watch.was_alone(8)


def test_a_kernel_that_counts_nothing_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tasks in (tmp_path / "none", tmp_path):
        monkeypatch.setattr(run_queue, "TASKS", tasks)
        assert waited_s() == {}
        assert Watch().was_alone(1)
    (tmp_path / "1").mkdir()  # a thread whose file has gone
    assert waited_s() == {}


@pytest.mark.skipif(not waited_s(), reason="the kernel counts no waits (CONFIG_SCHED_INFO)")
def test_threads_that_share_a_core_wait_for_half_of_their_time() -> None:
    script = f"""
import os, sys, threading, time
sys.path.insert(0, {str(Path(run_queue.__file__).parents[1])!r})
from parallel_opt.run_queue import Watch
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
watch = Watch()
if os.fork() == 0:  # someone else on the same core
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end: pass
    os._exit(0)
end = time.perf_counter() + 1.0
while time.perf_counter() < end: pass
print(watch.share(1))
os.wait()
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) > 0.2
