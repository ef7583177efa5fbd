"""Small fp64 models for equivalence tests, each with its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, a batch of a given size, and a loss. All random numbers come from torch's seed."""

    model: Callable[[], nn.Module]
    batch: Callable[[int], tuple[torch.Tensor, torch.Tensor]]
    loss: Callable[[Any, torch.Tensor, nn.Module], torch.Tensor]
    batch_dim: int = 0


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)
        )
        self.head = nn.Sequential(
            nn.Linear(6, 5), nn.BatchNorm1d(5, momentum=None), nn.Linear(5, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).relu().mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=batch_first, dropout=dropout)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0])


class Transformer(nn.Module):
    """Causal, with learned positions, a shared mask as input, tied embedding and head."""

    def __init__(self, dropout: float = 0.0, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.position = nn.Parameter(0.1 * torch.randn(6, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embedding(tokens) + self.position[: tokens.shape[1]]
        hidden = self.block(hidden, src_mask=mask)
        return {"logits": self.head(hidden)}


class Dropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 6), nn.AlphaDropout(0.2)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.layers(x)
        hidden = hidden + 0.1 * torch.randn_like(hidden)
        return self.head(functional.dropout(hidden, 0.5, self.training))


class RowBranch(nn.Module):
    """Each sample goes through the branch that its first feature chooses; `never` is unused."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)
        self.never = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.left(row) if row[0] > 0 else self.right(row) for row in x])


class BatchBranch(nn.Module):
    """The whole batch goes through the branch that its mean chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) if x.mean() > 0 else self.right(x)


class WithLoss(nn.Module):
    """Returns its own loss, as Hugging Face models do: a mean over labels that are not ignored."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.body(x)
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def _features(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 4, dtype=torch.float64)
    x[count // 3] = x[count // 3].abs() + 0.1  # both branches are taken
    return x, torch.randint(3, (count,))


def _images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return 3 + torch.randn(count, 1, 7, 7, dtype=torch.float64), torch.randint(3, (count,))


def _sequences(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 5, 3, dtype=torch.float64), torch.randn(count, 5, 2).double()


def _sequences_first(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(5, count, 3, dtype=torch.float64), torch.randn(5, count, 2).double()


def _tokens(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(11, (count, 6)), torch.randint(11, (count, 6))


def _labels(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(5, (count,))
    labels[::3] = -100
    return torch.randn(count, 4, dtype=torch.float64), labels


def _cross_entropy(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(output, target)


def _sum_loss(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(output, target, reduction="sum")


def _squared(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.mse_loss(output, target)


def _next_token(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return functional.cross_entropy(output["logits"].flatten(0, 1), target.flatten())


def _contrastive(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    similarity = output @ output.T
    return functional.cross_entropy(similarity, torch.arange(len(output)))


def _penalized(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    penalty = sum(p.square().sum() for p in model.parameters())
    return 0.01 * penalty + functional.cross_entropy(output, target)


def _own_loss(output: Any, target: torch.Tensor, model: nn.Module) -> torch.Tensor:
    return output["loss"]


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


CASES = {
    "mlp": Case(_mlp, _features, _cross_entropy),
    "sum_loss": Case(_mlp, _features, _sum_loss),
    "contrastive": Case(_mlp, _features, _contrastive),
    "penalty": Case(RowBranch, _features, _penalized),
    "conv_batch_norm": Case(ConvNet, _images, _cross_entropy),
    "lstm_batch_first": Case(lambda: Recurrent(True), _sequences, _squared),
    "lstm_sequence_first": Case(lambda: Recurrent(False), _sequences_first, _squared, 1),
    "lstm_dropout": Case(lambda: Recurrent(True, 0.4), _sequences, _squared),
    "transformer": Case(Transformer, _tokens, _next_token),
    "transformer_dropout": Case(lambda: Transformer(0.2), _tokens, _next_token),
    "tied": Case(lambda: Transformer(tied=True), _tokens, _next_token),
    "dropout": Case(Dropout, _features, _cross_entropy),
    "row_branch": Case(RowBranch, _features, _cross_entropy),
    "batch_branch": Case(BatchBranch, _features, _cross_entropy),
    "with_loss": Case(WithLoss, _labels, _own_loss),
}


def call(case: Case, model: Any, x: torch.Tensor, target: torch.Tensor) -> Any:
    """The forward as the case's user writes it."""
    if case.loss is _own_loss:
        return model(x, labels=target)
    if case.loss is _next_token:
        return model(x, nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64))
    return model(x)
