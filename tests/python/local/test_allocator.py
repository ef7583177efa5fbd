"""Kept memory takes no page faults, and giving it back restores glibc's thresholds."""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from local_models import Mlp, Settings

from parallel_opt.engine import allocator
from parallel_opt.engine.local import LocalEngine

KEEP = Settings()
KEEP.keep_memory = True  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    while allocator.is_kept():  # by models of other files, which run for as long as they live
        allocator.release()
    yield
    assert not allocator.is_kept()


def faults(megabytes: int) -> int:
    """Page faults of making and dropping tensors of 1 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        kept = [torch.ones(1 << 18) for _ in range(megabytes)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_kept_memory_is_not_faulted_in_again(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, KEEP)
    engine.apply()
    assert engine.notes == []
    faults(32)  # the heap grows once
    assert faults(32) < 1000  # 3 * 32 MiB in pages of 4 KiB would be 24,576
    engine.unapply()


def test_it_is_kept_until_the_last_engine_lets_go(mlp: Mlp) -> None:
    engines = [LocalEngine(mlp, KEEP), LocalEngine(Mlp(), KEEP)]
    for engine in engines:
        engine.apply()
    engines[0].unapply()
    assert allocator.is_kept()
    engines[1].unapply()
    assert not allocator.is_kept()
    allocator.release()  # one too many is harmless


@pytest.mark.parametrize(
    ("largest", "mmap", "trim"),
    [
        (0, 32 << 20, 64 << 20),  # unknown: the most that glibc allows itself
        (1000, 128 << 10, 256 << 10),  # glibc's least
        (1 << 20, (1 << 20) + 4096, 2 * ((1 << 20) + 4096)),  # the block and its header
        (1 << 30, 32 << 20, 64 << 20),
    ],
)
def test_default_thresholds_follow_the_largest_block(largest: int, mmap: int, trim: int) -> None:
    assert list(allocator.default_thresholds(largest).values())[:2] == [mmap, trim]


class NoGlibc:
    def __init__(self, name: Any) -> None:
        pass


def test_another_c_library_is_named(mlp: Mlp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", NoGlibc)
    engine = LocalEngine(mlp, KEEP)
    engine.apply()
    assert engine.notes == ["keep_memory: off: the C library is not glibc"]
    engine.unapply()
