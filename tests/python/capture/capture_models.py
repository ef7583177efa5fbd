"""Models that capture must read: (module, args, kwargs). Small, and each with its own trap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Case = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))

    def forward(self, x):
        return self.net(x)


class ConvNet(nn.Module):
    """Train-mode BatchNorm: running statistics change in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).mean((2, 3)))


class TiedLanguageModel(nn.Module):
    """Integer input, SDPA, tied embedding and head, a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.qkv = nn.Linear(8, 24)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = self.mix(self.mix(y.transpose(1, 2).reshape(b, t, d)))
        return self.head(x + y)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 5, batch_first=True)

    def forward(self, x):
        return self.gru(self.lstm(x)[0])[0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.encoder(x)


class SeveralInputs(nn.Module):
    """Keyword arguments, a number, a mask that has no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x, y, *, scale=2, mask=None, flag=True):
        out = self.a(x) * scale + y
        return out if mask is None else out.masked_fill(mask, 0.0)


class StorageViews(nn.Module):
    """Two parameters that are views of one storage: not tied."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(32)
        self.first = nn.Parameter(flat[:16].view(4, 4))
        self.second = nn.Parameter(flat[16:].view(4, 4))

    def forward(self, x):
        return x @ self.first + x @ self.second


class InPlace(nn.Module):
    """In-place operators, a buffer of its own that is not saved, a plain tensor attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(4), persistent=False)
        self.constant = torch.ones(4)
        self.w = nn.Parameter(torch.ones(4))

    def forward(self, x):
        self.steps += 1
        y = x.clone()
        y.t().mul_(2)
        y[:, 0] = 3
        return y * self.w + self.steps + self.constant


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(4, 4)
        self.backbone.requires_grad_(False)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.backbone(x))


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class ManyOutputs(nn.Module):
    """Outputs that torch.export cannot save: return_types, a data class, nested containers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        y = self.fc(x)
        return {"best": y.max(-1), "all": [Answer(y), (y.chunk(2, -1), None)]}


class DataDependent(nn.Module):
    """Which layer runs depends on the data: no export; and it counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.small = nn.Linear(4, 4)
        self.large = nn.Linear(4, 64)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.norm(x)
        return self.small(x) if float(x.detach().sum()) > 1e6 else self.large(x)


def _tokens() -> torch.Tensor:
    return torch.randint(0, 11, (4, 5))


def _flat() -> torch.Tensor:
    return torch.randn(6, 4)


def _several() -> Case:
    mask = torch.zeros(1, 4, dtype=torch.bool)
    return SeveralInputs(), (_flat(), _flat()), {"scale": 3, "mask": mask}


CASES: dict[str, Callable[[], Case]] = {
    "mlp": lambda: (Mlp(), (torch.randn(4, 6),), {}),
    "conv": lambda: (ConvNet(), (torch.randn(4, 1, 8, 8),), {}),
    "tied": lambda: (TiedLanguageModel(), (_tokens(),), {}),
    "recurrent": lambda: (Recurrent(), (torch.randn(3, 5, 4),), {}),
    "attention": lambda: (Attention(), (torch.randn(4, 5, 8),), {}),
    "encoder": lambda: (Encoder(), (torch.randn(4, 5, 8),), {}),
    "several": _several,
    "views": lambda: (StorageViews(), (_flat(),), {}),
    "in_place": lambda: (InPlace(), (_flat(),), {}),
    "frozen": lambda: (Frozen(), (_flat(),), {}),
    "outputs": lambda: (ManyOutputs(), (_flat(),), {}),
    "data": lambda: (DataDependent(), (_flat(),), {}),
}


def case(name: str) -> Case:
    """A fresh module with fixed weights, and a batch for it."""
    torch.manual_seed(0)
    return CASES[name]()
