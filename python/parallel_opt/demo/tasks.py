"""What the demo trains: model, optimizer, real data that every machine has, and the loss."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parallel_opt.demo.models import ByteGPT, DigitCNN
from parallel_opt.errors import MachineError, MissingPart

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """One training job. ``batch(step)`` and ``held_out()`` are the same in every process."""

    name: str
    title: str
    model: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: Callable[[int], Batch]
    held_out: Callable[[], list[Batch]]
    loss: Callable[[Tensor, Tensor], Tensor]


def _seeded(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return build()

    return model


def _library_source(limit: int = 4_000_000) -> Tensor:
    """Source text of the Python standard library of this machine, as bytes, up to ``limit``."""
    library = Path(sysconfig.get_path("stdlib"))
    chunks: list[bytes] = []
    total = 0
    for path in sorted(library.glob("*.py")):
        chunks.append(path.read_bytes())
        total += len(chunks[-1])
        if total >= limit:
            break
    if total < 200_000:
        raise MachineError(str(library), "has no Python sources", "install the standard library")
    return torch.frombuffer(bytearray(b"".join(chunks)[:limit]), dtype=torch.uint8).long()


def language_model(batch_size: int = 8, length: int = 128) -> Task:
    """Byte-level GPT on the source text of the standard library; the last tenth is held out."""
    text = _library_source()
    split = len(text) * 9 // 10

    def sample(part: Tensor, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(len(part) - length - 1, (batch_size,), generator=generator)
        rows = torch.stack([part[s : s + length + 1] for s in starts.tolist()])
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    return Task(
        name="gpt",
        title="byte-level GPT on the standard library's source text",
        model=_seeded(lambda: ByteGPT(max_length=length)),
        optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=3e-4),
        batch=lambda step: sample(text[:split], 1000 + step),
        held_out=lambda: [sample(text[split:], seed) for seed in range(4)],
        loss=lambda logits, target: F.cross_entropy(logits.flatten(0, 1), target.flatten()),
    )


def digit_classifier(batch_size: int = 128) -> Task:
    """Residual CNN on scikit-learn's scans of handwritten digits; the last 297 are held out."""
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError:
        hint = "pip install scikit-learn"
        raise MissingPart("scikit-learn", "is not installed", hint) from None
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target, dtype=torch.long)

    def sample(step: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 + step)
        rows = torch.randint(1500, (batch_size,), generator=generator)
        return images[rows], labels[rows]

    return Task(
        name="cnn",
        title="residual CNN on scikit-learn's digit scans",
        model=_seeded(DigitCNN),
        # SGD: under Adam the losses of two runs of *plain* with other thread counts part by 3e-4
        # within 25 steps (rounding of near-zero gradients), and could show no agreement to 1e-4.
        optimizer=lambda model: torch.optim.SGD(model.parameters(), lr=0.0005, momentum=0.9),
        batch=sample,
        held_out=lambda: [(images[1500:], labels[1500:])],
        loss=F.cross_entropy,
    )


TASKS: dict[str, Callable[[], Task]] = {"gpt": language_model, "cnn": digit_classifier}
