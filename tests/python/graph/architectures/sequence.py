"""Hand-written models of sequences: each returns its loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.entry import Architecture, tokens

VOCABULARY, WIDTH = 100, 32


class LstmLanguageModel(nn.Module):
    """Tied embedding and output, dropout between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h, _ = self.layers(self.dropout(self.embedding(x)))
        return functional.cross_entropy(self.head(h).flatten(0, 1), y.flatten())


class Seq2Seq(nn.Module):
    """GRU encoder and decoder with Luong's attention between them."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = (nn.Embedding(VOCABULARY, WIDTH) for _ in range(2))
        self.encoder = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * WIDTH, WIDTH)
        self.memory = nn.Linear(2 * WIDTH, WIDTH)
        self.decoder = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(2 * WIDTH, VOCABULARY)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        memory, last = self.encoder(self.source(x))
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))
        h, _ = self.decoder(self.target(y[:, :-1]), state.unsqueeze(0))
        memory = self.memory(memory)
        weights = torch.softmax(torch.bmm(h, memory.transpose(1, 2)), -1)
        context = torch.bmm(weights, memory)
        logits = self.head(torch.cat([h, context], -1))
        return functional.cross_entropy(logits.flatten(0, 1), y[:, 1:].flatten())


class RelativeAttention(nn.Module):
    """Transformer-XL: scores by content and by distance, which are shifted into place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.position = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.content_bias = nn.Parameter(torch.randn(heads, self.depth))
        self.position_bias = nn.Parameter(torch.randn(heads, self.depth))

    def forward(self, x: Tensor, memory: Tensor, distances: Tensor) -> Tensor:
        batch, steps, width = x.shape
        context = torch.cat([memory, x], 1)
        span = context.size(1)
        q = self.query(x).view(batch, steps, self.heads, self.depth)
        k, v = self.key_value(context).view(batch, span, self.heads, 2 * self.depth).chunk(2, -1)
        r = self.position(distances).view(span, self.heads, self.depth)
        content = torch.einsum("bihd,bjhd->bhij", q + self.content_bias, k)
        position = torch.einsum("bihd,jhd->bhij", q + self.position_bias, r)
        padded = functional.pad(position, (1, 0)).view(batch, self.heads, span + 1, steps)
        scores = (content + padded[:, :, 1:].view_as(position)) / math.sqrt(self.depth)
        future = torch.ones(steps, span, dtype=torch.bool).triu(1 + span - steps)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        y = torch.einsum("bhij,bjhd->bihd", weights, v)
        return self.out(y.reshape(batch, steps, width))


class TransformerXl(nn.Module):
    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.attentions = nn.ModuleList(RelativeAttention(WIDTH, 4) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * layers))
        self.ups = nn.ModuleList(nn.Linear(WIDTH, 64) for _ in range(layers))
        self.downs = nn.ModuleList(nn.Linear(64, WIDTH) for _ in range(layers))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor, memories: Tensor, y: Tensor) -> Tensor:
        h = self.embedding(x)
        span = memories.size(2) + x.size(1)
        places = torch.arange(span - 1, -1, -1.0)
        angles = places[:, None] / 10_000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
        distances = torch.cat([angles.sin(), angles.cos()], -1)
        for i, attention in enumerate(self.attentions):
            h = self.norms[2 * i](h + attention(h, memories[i], distances))
            h = self.norms[2 * i + 1](h + self.downs[i](torch.relu(self.ups[i](h))))
        return functional.cross_entropy(self.head(h).flatten(0, 1), y.flatten())


class Experts(nn.Module):
    """Top-2 of four experts: tokens are sorted out by `index_add`, one expert after the other."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, 64) / 8)
        self.down = nn.Parameter(torch.randn(experts, 64, width) / 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        probabilities = torch.softmax(self.router(flat), -1)
        weights, chosen = probabilities.topk(2, -1)
        # Every expert has room for half of the choices, in order of their weight.
        routed = torch.zeros_like(probabilities).scatter(1, chosen, weights)
        room = flat.size(0) // 2
        kept, rows = routed.t().topk(room, -1)
        hidden = functional.silu(torch.bmm(flat[rows], self.up))
        results = torch.bmm(hidden, self.down) * kept.unsqueeze(-1)
        y = torch.zeros_like(flat).index_add(0, rows.flatten(), results.flatten(0, 1))
        return y.view_as(x), probabilities.mean(0).pow(2).sum()


class MixtureOfExperts(nn.Module):
    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(layers)
        )
        self.experts = nn.ModuleList(Experts(WIDTH, 4) for _ in range(layers))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.embedding(x)
        balance = torch.zeros(())
        for attention, experts in zip(self.attention, self.experts, strict=True):
            h = h + attention(h, h, h, need_weights=False)[0]
            z, penalty = experts(h)
            h, balance = h + z, balance + penalty
        return functional.cross_entropy(self.head(h).flatten(0, 1), y.flatten()) + 0.01 * balance


class Perceiver(nn.Module):
    """Latents ask a long input through cross attention, then each other."""

    def __init__(self, latents: int = 8) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, WIDTH))
        self.norm = nn.LayerNorm(16)
        self.cross = nn.MultiheadAttention(WIDTH, 4, kdim=16, vdim=16, batch_first=True)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.tower = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.norm(x)
        latents = self.latents.expand(x.size(0), -1, -1)
        latents = latents + self.cross(latents, x, x, need_weights=False)[0]
        return functional.cross_entropy(self.head(self.tower(latents).mean(1)), y)


class EncoderDecoder(nn.Module):
    """torch.nn.Transformer as it is: two towers, cross attention, causal mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.core = nn.Transformer(WIDTH, 4, 2, 2, 64, 0.1, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(y.size(1))
        h = self.core(self.embedding(x), self.embedding(y), tgt_mask=mask, tgt_is_causal=True)
        return functional.cross_entropy(self.head(h).flatten(0, 1), y.flatten())


class AttentionCell(nn.Module):
    """A recurrent cell unrolled step by step in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.cell = nn.LSTMCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        state = (torch.zeros(x.size(0), WIDTH), torch.zeros(x.size(0), WIDTH))
        steps = []
        for step in self.embedding(x).unbind(1):
            state = self.cell(step, state)
            steps.append(state[0])
        logits = self.head(torch.stack(steps, 1))
        return functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def _text(make: Callable[[], nn.Module], steps: int = 16) -> Architecture:
    return Architecture(
        "sequence",
        lambda: (make(), {"x": tokens(VOCABULARY, 4, steps), "y": tokens(VOCABULARY, 4, steps)}),
    )


SEQUENCE = {
    "lstm_language_model": _text(LstmLanguageModel),
    "gru_seq2seq": _text(Seq2Seq),
    "transformer_xl": Architecture(
        "sequence",
        lambda: (
            TransformerXl(),
            {
                "x": tokens(VOCABULARY, 4, 16),
                "memories": torch.randn(2, 4, 16, WIDTH),
                "y": tokens(VOCABULARY, 4, 16),
            },
        ),
    ),
    "mixture_of_experts": _text(MixtureOfExperts),
    "nn_transformer": _text(EncoderDecoder),
    "lstm_cell_unrolled": _text(AttentionCell, 8),
    "perceiver": Architecture(
        "sequence", lambda: (Perceiver(), {"x": torch.randn(4, 64, 16), "y": tokens(10, 4)})
    ),
}
