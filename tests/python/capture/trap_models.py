"""Models that each hold one trap of capturing."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

Pair = namedtuple("Pair", ["x", "y"])


@dataclass
class Sample:
    x: torch.Tensor
    scale: float = 2.0
    mask: torch.Tensor | None = None


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))
        self.b = nn.Linear(4, 2)

    def forward(self, x):
        return self.b(checkpoint(self.a, x, use_reentrant=False))


class Mixed(nn.Module):
    """Autocast inside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 8)
        self.b = nn.Linear(8, 2)

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = self.a(x)
        return self.b(h.float())


class MySwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        hidden = x @ weight
        gate = torch.sigmoid(hidden)
        ctx.save_for_backward(x, weight, hidden, gate)
        return hidden * gate

    @staticmethod
    def backward(ctx, gradient):
        x, weight, hidden, gate = ctx.saved_tensors
        inner = gradient * (gate + hidden * gate * (1 - gate))
        return inner @ weight.t(), x.t() @ inner


swish = MySwish.apply  # looked up before anybody could watch


class CustomFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.weight = nn.Parameter(torch.randn(4, 8))

    def forward(self, x):
        return swish(self.inner(x), self.weight)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(50, 4, mode="sum", sparse=True)
        self.table = nn.Embedding(50, 4, sparse=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, index):
        return self.fc(self.bag(index) + self.table(index).sum(1))


class Spectral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(5, dtype=torch.complex64))

    def forward(self, x):
        spectrum = torch.fft.rfft(x) * self.filter
        return torch.fft.irfft(spectrum, n=x.shape[-1]), torch.view_as_real(
            spectrum.conj().resolve_conj()
        )


class Structured(nn.Module):
    """A data class in, a named tuple and None out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, sample, pairs=(), flag=None):
        y = self.fc(sample.x) * sample.scale
        for pair in pairs:
            y = y + pair["left"]
        return Pair(y, None if flag is None else y.sum())


class NoLoss(nn.Module):
    """Returns None where a loss could be."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, labels=None):
        logits = self.fc(x)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        self.fc(x)


class Scribbler(nn.Module):
    """Writes to everything it has while it looks at data: buffers, a parameter, an attribute,
    nested lists, a generator, its input, flags."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("mean", torch.zeros(4))
        self.attribute = torch.zeros(4)
        self.history = {"losses": [[]]}
        self.generator = torch.Generator().manual_seed(3)
        self.flag = False

    def forward(self, x):
        with torch.no_grad():
            self.fc.weight.clamp_(-0.01, 0.01)
            self.mean.lerp_(x.mean(0), 0.5)
            self.attribute += 1
            x.add_(1)
        self.history["losses"][0].append(float(x.sum()))
        self.extra = torch.rand(4, generator=self.generator)
        self.flag = True
        self.fc.bias.requires_grad_(False)
        self.eval()
        torch.manual_seed(int(torch.randint(0, 1000, ())))
        return self.norm(self.fc(x)) + self.extra + torch.randn(4)
