"""The models that the GPU benchmarks train, as their users would write them: plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

VOCABULARY = 50304


@dataclass(frozen=True)
class Shape:
    layers: int
    hidden: int
    heads: int
    sequence: int

    @property
    def parameters(self) -> int:
        """Weights of the blocks and the embeddings."""
        return 12 * self.layers * self.hidden**2 + (VOCABULARY + self.sequence) * self.hidden


class Block(nn.Module):
    """Pre-norm transformer block with causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        y: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return y


class GPT(nn.Module):
    """Tokens [batch, sequence] -> logits [batch, sequence, VOCABULARY]; the head is tied."""

    def __init__(self, shape: Shape, recompute: bool = False) -> None:
        super().__init__()
        self.recompute = recompute
        self.token = nn.Embedding(VOCABULARY, shape.hidden)
        self.position = nn.Embedding(shape.sequence, shape.hidden)
        self.blocks = nn.ModuleList(Block(shape.hidden, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden)
        self.head = nn.Linear(shape.hidden, VOCABULARY, bias=False)
        self.head.weight = self.token.weight
        self.apply(_small)

    def forward(self, tokens: Tensor) -> Tensor:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token(tokens) + self.position(positions)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute else block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def _small(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)


def on_gpu(build: Callable[[], nn.Module]) -> nn.Module:
    """Built where it will run: a billion parameters take a CPU half a minute to draw."""
    with torch.device("cuda"):
        return build()


Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: Callable[[int], Batch]
    loss: Callable[[Tensor, Tensor], Tensor]


def _generator(step: int) -> torch.Generator:
    return torch.Generator("cuda").manual_seed(1000 + step)


def gpt_task(shape: Shape, samples: int) -> Task:
    def batch(step: int) -> Batch:
        # Tokens of a skewed distribution, each often followed by its successor: something to learn.
        generator = _generator(step)
        size = (samples, shape.sequence + 1)
        draws = torch.rand(size, device="cuda", generator=generator)
        tokens = (VOCABULARY * draws**3).long()
        follow = torch.rand(size, device="cuda", generator=generator) < 0.5
        tokens[:, 1:] = torch.where(follow[:, 1:], (tokens[:, :-1] + 1) % VOCABULARY, tokens[:, 1:])
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    return Task(
        model=lambda: on_gpu(lambda: GPT(shape)),
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4),
        batch=batch,
        loss=lambda logits, y: F.cross_entropy(logits.flatten(0, 1).float(), y.flatten()),
    )


def image_task(build: Callable[[], nn.Module], samples: int) -> Task:
    def batch(step: int) -> Batch:
        generator = _generator(step)
        images = torch.randn(samples, 3, 224, 224, device="cuda", generator=generator)
        labels = torch.randint(1000, (samples,), device="cuda", generator=generator)
        return images, labels

    return Task(
        model=lambda: on_gpu(build),
        optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-3, momentum=0.9),
        batch=batch,
        loss=lambda logits, y: F.cross_entropy(logits.float(), y),
    )


def task(name: str) -> Task:
    """gpt: 12 layers of 768, 8 x 1024 tokens; resnet50 and vit: 64 images of 224 x 224."""
    if name == "gpt":
        return gpt_task(Shape(12, 768, 12, 1024), 8)
    import torchvision  # type: ignore[import-untyped]

    builds = {"resnet50": torchvision.models.resnet50, "vit": torchvision.models.vit_b_16}
    return image_task(builds[name], 64)
