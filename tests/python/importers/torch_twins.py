"""The Keras models of export_keras.py, layer by layer in PyTorch, each with one batch."""

from __future__ import annotations

import torch
from torch import nn

BATCH, SEQ = 4, 16


class Attention(nn.Module):
    """Keras' MultiHeadAttention: projections with bias, scores as plain products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, s, d = x.shape
        q, k, v = (
            layer(x).view(b, s, self.heads, d // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = (q * (d // self.heads) ** -0.5) @ k.transpose(-1, -2)
        mask = torch.ones(s, s, dtype=torch.bool).tril()
        weights = scores.masked_fill(~mask, -1e9).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, s, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(y))).relu()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.lstm, self.gru = nn.LSTM(32, 48, batch_first=True), nn.GRU(48, 24, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(self.embedding(tokens))[0])[0][:, -1])


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dense = nn.Embedding(1000, 16), nn.Linear(13, 16)
        self.head = nn.Linear(32, 1)

    def forward(self, user: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.embedding(user).flatten(1), self.dense(dense).relu()], 1)
        return self.head(x).sigmoid()


def torch_twin(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    tokens = torch.zeros(BATCH, 20 if name == "recurrent" else SEQ, dtype=torch.int64)
    if name == "mlp":
        layers = [nn.Linear(64, 128), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Linear(128, 128), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 10)), (torch.zeros(BATCH, 64),)
    if name == "cnn":
        model = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1), nn.MaxPool2d(2)),
            *(nn.ConvTranspose2d(32, 8, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(8, 10),
        )
        return model, (torch.zeros(BATCH, 3, 32, 32),)
    if name == "residual":
        blocks = [Residual(16) for _ in range(3)]
        ends = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
        model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), *blocks, *ends)
        return model, (torch.zeros(BATCH, 3, 32, 32),)
    if name == "transformer":
        blocks = [Block(64, 4) for _ in range(3)]
        return nn.Sequential(nn.Embedding(100, 64), *blocks, nn.Linear(64, 100)), (tokens,)
    if name == "recurrent":
        return Recurrent(), (tokens,)
    return Embeddings(), (torch.zeros(BATCH, 1, dtype=torch.int64), torch.zeros(BATCH, 13))
