"""Who takes which samples: contiguous row ranges of the global batch, one per rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.distributed as dist

from parallel_opt.compat import all_gather_single
from parallel_opt.engine.process_group import Group
from parallel_opt.errors import InputError


def split_batch(samples: int, ranks: int, shares: Sequence[int]) -> list[int]:
    """Samples per rank, in the ratio of `shares` (empty: even), by largest remainder.

    Raises:
        InputError: `shares` has another length than `ranks`, a negative entry, or only zeros.
    """
    weights = list(shares) or [1] * ranks
    if len(weights) != ranks or min(weights) < 0 or sum(weights) == 0:
        raise InputError(
            "plan.shares",
            f"{weights} does not share samples among {ranks} ranks",
            "one count per rank, none negative, not all zero",
        )
    total = sum(weights)
    counts = [samples * weight // total for weight in weights]
    by_remainder = sorted(range(ranks), key=lambda rank: (-(samples * weights[rank] % total), rank))
    for rank in by_remainder[: samples - sum(counts)]:
        counts[rank] += 1
    return counts


@dataclasses.dataclass(frozen=True)
class Share:
    """One rank's part of one global batch. A rank without samples computes row 0, for nothing."""

    counts: tuple[int, ...]  # samples per rank
    rank: int

    @property
    def samples(self) -> int:
        """Samples in the global batch."""
        return sum(self.counts)

    @property
    def own(self) -> int:
        """Samples of this rank that count."""
        return self.counts[self.rank]

    @property
    def rows(self) -> int:
        """Rows this rank computes: its own, or one dummy."""
        return max(1, self.own)

    @property
    def start(self) -> int:
        """First row this rank computes."""
        return sum(self.counts[: self.rank]) if self.own else 0


def gather_rows(
    local: torch.Tensor, dim: int, share: Share, group: Group, *, statistics: bool = False
) -> torch.Tensor:
    """All ranks' rows of `local` along `dim`, in rank order. Collective.

    `statistics` says that this happens inside backward.

    `local` has ``factor * share.rows`` rows for some whole `factor`; dummy rows are dropped.
    """
    factor = local.shape[dim] // share.rows
    most = max(share.counts) * factor
    own = share.own * factor
    first = local.detach().movedim(dim, 0)
    process_group = group.statistics if statistics else group.handle
    if own > 0 and set(share.counts) == {share.own} and local.dtype != torch.bool:
        # Straight into its place: a list is flattened, copied out and put together again.
        whole = first.new_empty((own * len(share.counts), *first.shape[1:]))
        all_gather_single(whole, first.contiguous(), process_group)
        return whole.movedim(0, dim).contiguous()
    # gloo refuses unequal sizes, and knows no bool
    padded = first.new_zeros(
        (most, *first.shape[1:]), dtype=torch.uint8 if local.dtype == torch.bool else None
    )
    padded[:own] = first[:own]
    parts = [torch.empty_like(padded) for _ in share.counts]
    dist.all_gather(parts, padded, group=process_group)
    full = torch.cat(
        [part[: count * factor] for part, count in zip(parts, share.counts, strict=True)]
    )
    return full.to(local.dtype).movedim(0, dim).contiguous()
