"""Models that hand functions to torch's operators: attention under a mask, control flow."""

from __future__ import annotations

import torch
from torch import nn
from torch._higher_order_ops import associative_scan, scan, while_loop
from torch._higher_order_ops import map as map_over
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

LENGTH, BLOCK = 512, 128


def causal(b, h, q, k):
    return q >= k


def window(b, h, q, k):
    return (q - k).abs() < BLOCK


class Masked(nn.Module):
    """Two heads of 16 over 512 positions. The mask is made before, in every forward, or from data;
    scores may get a bias that is a parameter."""

    def __init__(self, mask="before", function=causal) -> None:
        super().__init__()
        self.qkv = nn.Linear(32, 96)
        self.slopes = nn.Parameter(torch.ones(2))
        self.mask, self.function = mask, function
        self.made = (
            create_block_mask(function, None, None, LENGTH, LENGTH, device="cpu")
            if mask == "before"
            else None
        )

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        made = self.made
        if self.mask == "inside":
            made = create_block_mask(self.function, None, None, t, t, device=x.device)
        if self.mask == "data":
            kind = x[0, :, 0] > 0

            def alike(b, h, q, k):
                return kind[q] == kind[k]

            made = create_block_mask(alike, None, None, t, t, device=x.device)
        y = flex_attention(q, k, v, score_mod=self.biased(), block_mask=made)
        return y.transpose(1, 2).reshape(b, t, d)

    def biased(self):
        slopes = self.slopes

        def bias(score, b, h, q, k):
            return score + slopes[h] * (k - q)

        return bias if self.mask == "bias" else None


class Cond(nn.Module):
    """One product or two."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return torch.cond(x.sum() > 0, self.fc, lambda x: self.fc(self.fc(x)), (x,))


class While(nn.Module):
    """Three products."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        start = torch.zeros((), dtype=torch.int64)
        return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, self.fc(x)), (start, x))[1]


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return map_over(lambda row: self.fc(row), x)


class Scanned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        def step(carried, row):
            made = torch.tanh(self.fc(carried) + row)
            return made, made.clone()

        return scan(step, torch.zeros(4), x)[1]


class Combined(nn.Module):
    """A running sum of products."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return associative_scan(torch.add, self.fc(x), dim=0, combine_mode="generic")


class Region(nn.Module):
    """A part that is compiled once and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.part = torch.compiler.nested_compile_region(lambda x: torch.tanh(self.fc(x)))

    def forward(self, x):
        return self.part(self.part(x))


class WithoutGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 4)
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            h = self.frozen(x)
        return self.fc(h)


class CompiledPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.compile(nn.Linear(4, 4), backend="eager")
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x))


class Reentrant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        return checkpoint(self.a, self.b(x), use_reentrant=True)


class Vmapped(nn.Module):
    """A product per sample, as ensembles and per-sample gradients have them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return torch.func.vmap(lambda row: self.weight @ row)(x)
