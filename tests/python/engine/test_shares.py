"""Contiguous shares of a batch."""

from __future__ import annotations

import pytest

from harness import RankPool
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.shares import Share, gather_rows, split_batch


@pytest.mark.parametrize(
    ("samples", "shares", "counts"),
    [
        (8, [], [2, 2, 2, 2]),
        (7, [], [2, 2, 2, 1]),  # 1.75 each: one whole, the remainders equal, lower ranks first
        (2, [], [1, 1, 0, 0]),
        (8, [5, 2, 1, 0], [5, 2, 1, 0]),
        (7, [5, 2, 1, 0], [4, 2, 1, 0]),  # 4.375, 1.75, 0.875, 0: two more to .875 and .75
        (0, [1, 1, 1, 1], [0, 0, 0, 0]),
    ],
)
def test_samples_follow_the_ratio(samples: int, shares: list[int], counts: list[int]) -> None:
    assert split_batch(samples, 4, shares) == counts


def test_a_rank_without_samples_computes_row_zero() -> None:
    share = Share((3, 0, 2), 1)
    assert (share.samples, share.own, share.rows, share.start) == (5, 0, 1, 0)
    last = Share((3, 0, 2), 2)
    assert (last.own, last.rows, last.start) == (2, 2, 3)


def gathered(group: Group) -> None:
    import torch

    for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.bool):
        for counts in ((3, 2), (5, 0), (2, 2)):
            share = Share(counts, group.rank)
            # Two columns of each sample, along dimension 1.
            whole = torch.arange(6 * share.samples).view(3, -1).to(dtype)
            local = whole.narrow(1, 2 * share.start, 2 * share.rows)
            found = gather_rows(local, 1, share, group)
            assert found.dtype == dtype
            assert found.is_contiguous()
            assert torch.equal(found, whole)


def test_rows_come_back_in_order_for_every_dtype(ranks: RankPool) -> None:
    ranks.run(gathered, 2)
