"""Made-up batches that bring out what couples samples inside a model only for some values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def variants(
    inputs: Sequence[torch.Tensor], dims: Sequence[int | None]
) -> Iterator[list[torch.Tensor]]:
    """Batches of the same form that may take another way through the model.

    The last third with the other sign; the same third small; one sample far out; masks open for the
    first part only; inputs that are not sliced, but could be, shifted by a sample; every sample
    like the first, with one that stands out.
    """

    def floats(start: int, rows: int, factor: float) -> list[torch.Tensor]:
        return [
            t if dim is None or not t.is_floating_point() else _scaled(t, dim, start, rows, factor)
            for t, dim in zip(inputs, dims, strict=True)
        ]

    pairs = list(zip(inputs, dims, strict=True))
    samples = next(t.shape[dim] for t, dim in pairs if dim is not None)
    third = max(1, samples // 3)
    if any(dim is not None and t.is_floating_point() for t, dim in pairs):
        yield floats(samples - third, third, -1.0)
        yield floats(samples - third, third, 0.01)
        yield floats(0, 1, 10.0)
    if any(_is_mask(t, dim) for t, dim in pairs):
        yield [_opened(t, samples - third) if _is_mask(t, dim) else t for t, dim in pairs]
    if any(dim is None and samples in t.shape for t, dim in pairs):
        yield [
            t.roll(1, t.shape.index(samples)) if dim is None and samples in t.shape else t
            for t, dim in pairs
        ]
    yield [t if dim is None else _alike(t, dim) for t, dim in pairs]


def _is_mask(tensor: torch.Tensor, dim: int | None) -> bool:
    """Zeros and ones per sample and position."""
    return dim == 0 and tensor.dim() >= 2 and bool(((tensor == 0) | (tensor == 1)).all())


def _opened(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """Ones for the first `rows` samples; the last sample's second half is closed."""
    tensor = tensor.clone()
    tensor[:rows] = 1
    tensor[-1, ..., tensor.shape[-1] // 2 :] = 0
    return tensor


def _scaled(tensor: torch.Tensor, dim: int, start: int, rows: int, factor: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.narrow(dim, start, rows).mul_(factor)
    return tensor


def _alike(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """Every sample but the last is the first."""
    rows = tensor.shape[dim]
    order = torch.zeros(rows, dtype=torch.int64, device=tensor.device)
    order[-1] = rows - 1
    return tensor.index_select(dim, order)
