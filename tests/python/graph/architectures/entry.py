"""What one architecture of the table is: a builder of a small model with one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, dict[str, Any]]


@dataclass(frozen=True)
class Architecture:
    """`make` returns a module in training mode and its keyword arguments; the module returns one
    number to run the backward from."""

    family: str
    make: Callable[[], Made]


class Scored(nn.Module):
    """A model that returns one number: its loss, or the mean of one of its results."""

    def __init__(self, model: nn.Module, result: str = "loss") -> None:
        super().__init__()
        self.model = model
        self.result = result

    def forward(self, **inputs: Any) -> Tensor:
        value: Tensor = getattr(self.model(**inputs), self.result)
        return value if value.dim() == 0 else value.mean()


def transformers_model(
    auto: str,
    kind: str,
    inputs: Mapping[str, Any],
    config: Mapping[str, Any],
    result: str = "loss",
) -> Made:
    """A model with random weights from a configuration of transformers; nothing is fetched."""
    import transformers

    settings = transformers.AutoConfig.for_model(kind, **config)
    model = getattr(transformers, auto).from_config(settings)
    return Scored(model, result).train(), dict(inputs)


def tokens(size: int, *shape: int) -> Tensor:
    return torch.randint(0, size, shape)


def padded_text(vocabulary: int, batch: int, steps: int) -> dict[str, Tensor]:
    """Samples of unlike length with their mask, as a tokenizer gives them: with the mask in sight
    a model takes the same way when it runs and when it is exported."""
    ids = tokens(vocabulary, batch, steps)
    mask = torch.ones(batch, steps, dtype=torch.long)
    mask[0, -steps // 4 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
