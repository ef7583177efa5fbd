"""A layout is held against gradients, real draws, and what normalises or counts over the batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_layout import Function, layout_of, numbers
from torch import nn
from torch.nn import functional

from parallel_opt.engine.layout import UNEVEN_NORM
from parallel_opt.engine.layout_proof import OTHERWISE_FOR_GRADIENTS


class _Backward(torch.autograd.Function):
    """The identity whose gradient goes through a function."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, change: Callable[..., torch.Tensor]) -> torch.Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return ctx.change(grad), None


def by(change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    identity: Any = _Backward.apply
    return Function(lambda w, x: torch.tanh(identity(x @ w, change)))


def hooked(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    hidden = x @ w
    if hidden.requires_grad:
        hidden.register_hook(lambda grad: grad.clamp(-1, 1))
    return torch.tanh(hidden)


@pytest.mark.parametrize(
    "model",
    [
        by(functional.hardtanh),  # a straight-through estimator
        by(lambda grad: grad / grad.norm()),
        by(lambda grad: grad - grad.mean(0)),
        Function(hooked),
    ],
    ids=["clamped", "normalised", "centred", "hook of an activation"],
)
def test_a_backward_that_is_not_linear_in_the_samples_is_noticed(model: nn.Module) -> None:
    """A rank's gradient is a part of the whole, times the number of ranks."""
    assert layout_of(model, numbers(6, 4)).whole_because == OTHERWISE_FOR_GRADIENTS


def test_a_backward_by_other_factors_is_sliced() -> None:
    assert layout_of(by(lambda grad: -0.3 * grad), numbers(6, 4)).whole_because == ""


def test_a_step_that_the_model_refuses_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise ValueError("not with six samples")

    caplog.set_level(logging.DEBUG, logger="parallel_opt")
    assert layout_of(by(refuse), numbers(6, 4)).whole_because == ""
    told = [message for message in caplog.messages if message.startswith("the layout was not held")]
    assert told
    assert told[0].endswith("against a step on 6 samples: not with six samples")


def test_gradients_that_are_rounding_alone_are_not_compared() -> None:
    """A bias before a softmax over all of its entries has none."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    layer.bias = nn.Parameter(torch.ones(1, dtype=torch.float64))
    model = nn.Sequential(layer, nn.Softmax(dim=1))
    assert layout_of(model, numbers(6, 4)).whole_because == ""


def test_a_loss_over_entries_drawn_at_random_is_noticed() -> None:
    """Settled draws are 0.5: all entries of 24 count, or none and the loss is NaN."""

    def masked(p: float) -> nn.Module:
        def loss(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            kept = torch.rand(x.shape) < p
            return (x @ w).square()[kept].mean()

        return Function(loss)

    reason = "with the numbers drawn at random, output 0 is not made of per-sample "
    assert layout_of(masked(0.7), numbers(6, 4)).whole_because == reason + "means"
    assert layout_of(masked(0.3), numbers(6, 4)).whole_because == reason + "constants"
    noisy = Function(lambda w, x: (x @ w + torch.randn(x.shape, dtype=x.dtype)).square().mean())
    assert layout_of(noisy, numbers(6, 4)).whole_because == ""


class _Chunked(nn.BatchNorm1d):
    """Ghost batch norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(_Chunked, self).forward(part) for part in x.chunk(2)])


def test_a_batch_norm_over_parts_of_the_batch_is_noticed() -> None:
    assert layout_of(_Chunked(4).double(), numbers(8, 4)).whole_because == UNEVEN_NORM
    assert layout_of(nn.BatchNorm1d(4).double(), numbers(8, 4)).whole_because == ""


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_embeddings_that_look_at_the_whole_batch_are_noticed(kind: Any) -> None:
    tokens = torch.arange(24).view(6, 4) % 5
    shrinks = kind(5, 3, max_norm=0.5, dtype=torch.float64)
    before = shrinks.weight.detach().clone()
    assert layout_of(shrinks, tokens).whole_because == (
        "an embedding with max_norm changes the entries that stand in the batch"
    )
    assert torch.equal(shrinks.weight, before)
    counts = kind(5, 3, scale_grad_by_freq=True, dtype=torch.float64)
    assert layout_of(counts, tokens).whole_because == (
        "an embedding with scale_grad_by_freq counts entries over the batch"
    )
    assert layout_of(kind(5, 3, dtype=torch.float64), tokens).whole_because == ""


class _Averaging(nn.Module):
    """A frozen copy that follows the trained part in every forward, as MoCo's key encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(4, 3).double(), nn.Linear(4, 3).double()
        self.key.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            for mine, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
                mine.data = 0.9 * mine.data + 0.1 * theirs.data
        return self.query(x) * self.key(x)


def test_parameters_that_a_forward_averages_are_put_back() -> None:
    model = _Averaging()
    before = model.key.weight.detach().clone()
    assert layout_of(model, numbers(6, 4)).whole_because == ""
    assert torch.equal(model.key.weight, before)
