"""The allocator's model against what a GPU's allocator was asked and did."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from parallel_opt import _core

RECORDED = Path(__file__).parents[3] / "bench/results/2026-11-26-h200/allocator.json.gz"


def cases() -> list[Any]:
    with gzip.open(RECORDED, "rt") as file:
        document = json.load(file)
    return [
        pytest.param(case, id=f"{case['dtype']}-recompute-{case['recompute']}")
        for case in document["cases"]
    ]


def replayed(case: dict[str, Any]) -> _core.CachingAllocator:
    """Three training steps of a GPT, request by request, from the segments that were there."""
    allocator = _core.CachingAllocator()
    live: dict[int, int] = {}
    for segment in case["before"]:
        sizes = [size for size, _ in segment["blocks"]]
        free = [state == "inactive" for _, state in segment["blocks"]]
        address = segment["address"]
        blocks = allocator.adopt(segment["kind"] == "small", sizes, free)
        for block, size, is_free in zip(blocks, sizes, free, strict=True):
            if not is_free:
                live[address] = block
            address += size
    for action, address, size, _ in case["trace"]:
        name = case["actions"][action]
        if name == "alloc":
            block = allocator.allocate(size)
            assert block is not None
            live[address] = block
        elif name == "free_completed":
            allocator.free(live.pop(address))
    return allocator


@pytest.mark.parametrize("case", cases())
def test_replay_reserves_what_the_gpu_reserved(case: dict[str, Any]) -> None:
    allocator = replayed(case)
    stats = case["stats"]
    assert allocator.peak_reserved_bytes == stats["reserved_bytes.all.peak"]
    assert allocator.reserved_bytes == sum(segment["size"] for segment in case["after"])
    # Equal free blocks are taken by address, which a model cannot know: one is larger by a rest.
    assert abs(allocator.peak_allocated_bytes / stats["allocated_bytes.all.peak"] - 1) < 5e-4
