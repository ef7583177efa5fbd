"""Ten small models, each at two sizes, and one batch of each: what `live_accuracy.py` predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class Case:
    """A model in training mode, its batch, and the loss of the user's loop."""

    model: nn.Module
    batch: Tensor
    loss: Callable[[Tensor], Tensor]
    optimizer: str = "adamw"

    def make_optimizer(self) -> torch.optim.Optimizer:
        parameters = self.model.parameters()
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=1e-3)
        if self.optimizer == "momentum":
            return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
        return torch.optim.AdamW(parameters, lr=1e-3)


def classes(target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda out: functional.cross_entropy(out.flatten(0, -2), target.flatten())


def values(target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda out: functional.mse_loss(out, target)


class Residual(nn.Module):
    """x + inner(norm(x))."""

    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(self.norm(x))
        return out


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.take, self.give = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, s, w = x.shape
        parts = self.take(x).view(b, s, 3, self.heads, w // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind()
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.give(y.transpose(1, 2).reshape(b, s, w))
        return out


def wide(width: int, factor: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, factor * width), nn.GELU(), nn.Linear(factor * width, width)
    )


def blocks(width: int, heads: int, depth: int, causal: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(Residual(width, Attention(width, heads, causal)))
        layers.append(Residual(width, wide(width)))
    return nn.Sequential(*layers)


def perceptron(large: bool) -> Case:
    width, depth, batch = (1024, 6, 256) if large else (512, 4, 128)
    layers = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    return Case(model, torch.randn(batch, width), classes(torch.randint(10, (batch,))), "momentum")


def language(large: bool) -> Case:
    width, depth, batch, length = (384, 6, 8, 128) if large else (192, 4, 8, 64)
    model = nn.Sequential(
        nn.Embedding(4096, width),
        blocks(width, width // 64, depth, causal=True),
        nn.LayerNorm(width),
        nn.Linear(width, 4096),
    )
    tokens = torch.randint(4096, (batch, length))
    return Case(model, tokens, classes(torch.randint(4096, (batch, length))))


class Patches(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, width, size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cut(x).flatten(2).transpose(1, 2)
        return out


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def vision(large: bool) -> Case:
    width, depth, batch, side = (384, 6, 8, 96) if large else (192, 4, 8, 64)
    model = nn.Sequential(
        Patches(width, 8),
        blocks(width, width // 64, depth, causal=False),
        nn.LayerNorm(width),
        Mean(),
        nn.Linear(width, 100),
    )
    return Case(model, torch.randn(batch, 3, side, side), classes(torch.randint(100, (batch,))))


class Transposed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.transpose(1, 2)).transpose(1, 2)
        return out


def mixer(large: bool) -> Case:
    width, depth, batch, side = (384, 6, 8, 96) if large else (192, 4, 8, 64)
    tokens = (side // 8) ** 2
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [Residual(width, Transposed(wide(tokens, 2))), Residual(width, wide(width))]
    model = nn.Sequential(
        Patches(width, 8), *layers, nn.LayerNorm(width), Mean(), nn.Linear(width, 100)
    )
    return Case(model, torch.randn(batch, 3, side, side), classes(torch.randint(100, (batch,))))


def convolution(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    )


class Shortcut(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(x)
        return out


def residual(large: bool) -> Case:
    width, batch, side = (32, 16, 48) if large else (16, 16, 32)
    layers: list[nn.Module] = [convolution(3, width)]
    for stage in range(3):
        inner = width << stage
        layers += [Shortcut(inner), Shortcut(inner)]
        if stage < 2:
            layers.append(convolution(inner, 2 * inner, 2))
    head = nn.Linear(4 * width, 100)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    batch_of = torch.randn(batch, 3, side, side)
    return Case(model, batch_of, classes(torch.randint(100, (batch,))), "momentum")


def plain_images(large: bool) -> Case:
    width, batch, side = (32, 32, 48) if large else (16, 32, 32)
    layers: list[nn.Module] = []
    inner = 3
    for outer in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        inner = outer
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inner * (side // 8) ** 2, 10))
    return Case(
        model, torch.randn(batch, 3, side, side), classes(torch.randint(10, (batch,))), "sgd"
    )


class Skips(nn.Module):
    """A small U-Net."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down1, self.down2 = convolution(3, width), convolution(width, 2 * width, 2)
        self.deep = convolution(2 * width, 4 * width, 2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join2 = convolution(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join1 = convolution(2 * width, width)
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(a)
        y = self.join2(torch.cat([self.up2(self.deep(b)), b], 1))
        out: Tensor = self.head(self.join1(torch.cat([self.up1(y), a], 1)))
        return out


def skips(large: bool) -> Case:
    width, batch, side = (32, 8, 64) if large else (16, 8, 48)
    x = torch.randn(batch, 3, side, side)
    return Case(Skips(width), x, values(torch.randn_like(x)))


class Recurrent(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.read = nn.Embedding(1000, width)
        self.inner = nn.LSTM(width, width, depth, batch_first=True)
        self.head = nn.Linear(width, 1000)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.head(self.inner(self.read(tokens))[0])
        return out


def recurrent(large: bool) -> Case:
    width, depth, batch, length = (256, 2, 32, 48) if large else (128, 1, 32, 32)
    tokens = torch.randint(1000, (batch, length))
    return Case(Recurrent(width, depth), tokens, classes(torch.randint(1000, (batch, length))))


class Tables(nn.Module):
    """A recommender: looked-up rows, pairwise products, a perceptron."""

    def __init__(self, rows: int, width: int, tables: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(tables))
        pairs = tables * tables
        self.top = nn.Sequential(nn.Linear(pairs, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        self.head = nn.Linear(256, 1)

    def forward(self, index: Tensor) -> Tensor:
        rows = torch.stack([table(index[:, i]) for i, table in enumerate(self.tables)], 1)
        pairs = torch.bmm(rows, rows.transpose(1, 2)).flatten(1)
        out: Tensor = self.head(self.top(pairs))
        return out


def tables(large: bool) -> Case:
    rows, width, count, batch = (4000, 64, 24, 2048) if large else (2000, 32, 16, 1024)
    index = torch.randint(rows, (batch, count))
    return Case(Tables(rows, width, count), index, values(torch.randn(batch, 1)), "sgd")


def autoencoder(large: bool) -> Case:
    width, batch = (2048, 512) if large else (1024, 256)
    sizes = [width, width // 2, width // 4, width // 8, width // 4, width // 2, width]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.SiLU(), nn.LayerNorm(b)]
    x = torch.randn(batch, width)
    return Case(nn.Sequential(*layers), x, values(x))


MODELS: dict[str, Callable[[bool], Case]] = {
    "perceptron": perceptron,
    "autoencoder": autoencoder,
    "language": language,
    "vision": vision,
    "mixer": mixer,
    "residual": residual,
    "images": plain_images,
    "skips": skips,
    "recurrent": recurrent,
    "tables": tables,
}
