"""Models of the test tree whose counts torch itself gives: every one returns its loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Sample = tuple[Tensor, ...]


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(128, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 512), nn.Tanh()
        )
        self.head = nn.Linear(512, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(self.net(x)), y)


class ConvNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.head(self.features(x).flatten(1)), y)


class Residual(nn.Module):
    """A basic (two 3x3) or bottleneck (1x1, 3x3, 1x1) block of a ResNet."""

    def __init__(self, inner: int, outer: int, stride: int, wide: int) -> None:
        super().__init__()
        kernels = (3, 3) if wide == 1 else (1, 3, 1)
        sizes = [inner, *[outer] * (len(kernels) - 1), outer * wide]
        strides = (stride, 1) if wide == 1 else (1, stride, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(sizes[i], sizes[i + 1], k, strides[i], k // 2, bias=False)
            for i, k in enumerate(kernels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes[1:])
        self.relu = nn.ReLU(inplace=True)
        self.short = None
        if stride != 1 or inner != outer * wide:
            self.short = nn.Sequential(
                nn.Conv2d(inner, outer * wide, 1, stride, bias=False), nn.BatchNorm2d(outer * wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            if i + 1 < len(self.convs):
                y = self.relu(y)
        y += x if self.short is None else self.short(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, depths: tuple[int, ...], wide: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        size = 64
        stages = []
        for i, depth in enumerate(depths):
            stage = []
            for j in range(depth):
                stage.append(Residual(size, 64 << i, 2 if i > 0 and j == 0 else 1, wide))
                size = (64 << i) * wide
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(size, 100)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.stages(self.pool(self.stem(x)))
        return functional.cross_entropy(
            self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1)), y
        )


class Recurrent(nn.Module):
    def __init__(self, kind: str, layers: int, both: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 64)
        self.layers = getattr(nn, kind)(64, 128, layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(256 if both else 128, 100)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.head(self.layers(self.embedding(x))[0])
        return functional.cross_entropy(logits.reshape(-1, 100), y.reshape(-1))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.heads, self.fused = heads, fused

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        shape = (batch, steps, self.heads, width // self.heads)
        q, k, v = (t.view(shape).transpose(1, 2) for t in self.qkv(x).split(width, 2))
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
            future = torch.ones(steps, steps, dtype=torch.bool).triu(1)
            y = functional.softmax(scores.masked_fill(future, -math.inf), -1) @ v
        return self.out(y.transpose(1, 2).contiguous().view(batch, steps, width))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, fused: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, fused)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, fused: bool = True, tied: bool = False, layers: int = 4) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(256, 128), nn.Embedding(64, 128)
        self.blocks = nn.ModuleList(Layer(128, 4, fused) for _ in range(layers))
        self.norm = nn.LayerNorm(128)
        self.head = nn.Linear(128, 256, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        logits = self.head(self.norm(h))
        return functional.cross_entropy(logits.view(-1, 256), y.view(-1))


class Encoder(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Embedding(300, 128), nn.LayerNorm(128)
        layer = nn.TransformerEncoderLayer(
            128, 4, 512, dropout, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(128, 300)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.head(self.encoder(self.norm(self.tokens(x))))
        return functional.cross_entropy(logits.view(-1, 300), y.view(-1))


class Grouped(nn.Module):
    """Depthwise, grouped and transposed convolutions, group norm, unusual activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, 2, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.grouped = nn.Conv2d(32, 64, 3, 1, 1, groups=4)
        self.up = nn.ConvTranspose2d(64, 8, 4, 2, 1)
        self.norm = nn.GroupNorm(4, 8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.grouped(functional.relu6(self.depthwise(self.first(x))))
        return functional.mse_loss(functional.silu(self.norm(self.up(functional.hardswish(x)))), y)


def _images(count: int, channels: int, size: int, classes: int) -> Sample:
    return torch.randn(count, channels, size, size), torch.randint(classes, (count,))


def _tokens(vocabulary: int) -> Sample:
    return torch.randint(vocabulary, (8, 64)), torch.randint(vocabulary, (8, 64))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Sample]]] = {
    "mlp": (Mlp, lambda: (torch.randn(64, 128), torch.randint(10, (64,)))),
    "conv_net": (ConvNet, lambda: _images(16, 1, 16, 10)),
    "resnet18": (lambda: ResNet((2, 2, 2, 2), 1), lambda: _images(4, 3, 64, 100)),
    "resnet50": (lambda: ResNet((3, 4, 6, 3), 4), lambda: _images(2, 3, 64, 100)),
    "lstm": (lambda: Recurrent("LSTM", 2), lambda: _tokens(100)),
    "lstm_both_ways": (lambda: Recurrent("LSTM", 2, True), lambda: _tokens(100)),
    "gru": (lambda: Recurrent("GRU", 2), lambda: _tokens(100)),
    "gpt": (Gpt, lambda: _tokens(256)),
    "gpt_tied": (lambda: Gpt(tied=True), lambda: _tokens(256)),
    "gpt_by_hand": (lambda: Gpt(fused=False), lambda: _tokens(256)),
    "encoder": (lambda: Encoder(0.1), lambda: _tokens(300)),
    "encoder_no_dropout": (lambda: Encoder(0.0), lambda: _tokens(300)),
    "grouped": (Grouped, lambda: (torch.randn(4, 3, 32, 32), torch.randn(4, 8, 32, 32))),
}
