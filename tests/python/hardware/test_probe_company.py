"""probe_company.py: other cores at work. No timings are judged."""

from __future__ import annotations

import threading

import pytest
import torch

from parallel_opt import probe_company, probe_points
from parallel_opt.probe_company import company
from parallel_opt.probe_kernels import Curve
from parallel_opt.probe_passes import _beside
from parallel_opt.probe_points import Kept
from parallel_opt.probe_timing import threads_set


@pytest.mark.parametrize("arithmetic", [True, False])
def test_others_work_until_the_block_ends(arithmetic: bool) -> None:
    before, at_first = torch.get_num_threads(), threading.active_count()
    with threads_set(1), company(2, arithmetic=arithmetic):
        assert threading.active_count() == at_first + 2
    assert threading.active_count() == at_first
    assert torch.get_num_threads() == before


def test_an_error_inside_ends_their_work() -> None:
    at_first = threading.active_count()
    with pytest.raises(KeyError), threads_set(1), company(1, arithmetic=True):
        raise KeyError
    assert threading.active_count() == at_first


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_core_that_could_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(probe_company, "_stream", lambda: refuse)
    with pytest.raises(threading.BrokenBarrierError), company(2, arithmetic=False):
        pass


def test_company_is_for_curves_that_leave_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    at_first = threading.active_count()

    def beside(kernel: str, threads: int, cores: int) -> int:
        with threads_set(1), _beside(Curve(kernel, None, threads, cores, ())):
            return threading.active_count() - at_first

    assert beside("matmul", 1, 2) == 1
    assert beside("elementwise", 1, 4) == 3
    assert beside("matmul", 2, 2) == 0
    assert beside("matmul", 0, 0) == 0  # a GPU
    monkeypatch.setattr(probe_company, "MOST_THREADS", 2)
    assert beside("matmul", 1, 64) == 2


def test_results_stay_for_as_many_calls_as_fit() -> None:
    made: list[torch.Tensor] = []

    def call() -> tuple[torch.Tensor, list[torch.Tensor]]:
        one, two = torch.zeros(100), torch.zeros(156)  # 1024 bytes
        made.append(one)
        return one, [two]

    kept = Kept(call, most_bytes=4096)
    for _ in range(5):
        kept()
    held = [result[0] for result in kept._results]  # type: ignore[index]
    assert len(held) == 3  # 4096 bytes hold three and, beside them, the next
    assert all(a is b for a, b in zip(held, made[-3:], strict=True))
    nothing = Kept(lambda: None)
    for _ in range(2 * probe_points.MOST_KEPT):
        nothing()
    assert len(nothing._results) == probe_points.MOST_KEPT
