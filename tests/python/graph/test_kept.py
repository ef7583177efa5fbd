"""What autograd keeps, at every level: by observation, by the recorded backward, by the table."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torch_counts import torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import capture


class Summed(nn.Module):
    def __init__(self, inner: nn.Module, low: bool = False) -> None:
        super().__init__()
        self.inner, self.low = inner, low

    def forward(self, x: Tensor) -> Tensor:
        low = torch.autocast("cpu", torch.bfloat16) if self.low else contextlib.nullcontext()
        with low:
            y = self.inner(x)
        return (y if isinstance(y, Tensor) else y[0]).sum()


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return gradient @ w.t(), x.t() @ gradient


class WithFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        return Product.apply(x.relu(), self.w)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.inside, self.last = (nn.Linear(16, 16) for _ in range(3))
        self.reentrant = reentrant

    def part(self, x: Tensor) -> Tensor:
        return torch.relu(self.inside(x)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.part, self.first(x), use_reentrant=self.reentrant))


def encoder(dropout: float = 0.0) -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def sequence(width: int = 16) -> Tensor:
    return torch.randn(4, 10, width)


LEVELS = ("auto", "trace", "step", "joint")
MODELS = {
    "lstm": (lambda: nn.LSTM(16, 32, 2, batch_first=True), sequence, LEVELS),
    "lstm_dropout": (lambda: nn.LSTM(16, 32, 2, dropout=0.3), sequence, LEVELS),
    "lstm_projected": (lambda: nn.LSTM(16, 32, 2, proj_size=8), sequence, LEVELS),
    "gru": (lambda: nn.GRU(16, 32, 2, batch_first=True), sequence, LEVELS),
    "gru_dropout": (lambda: nn.GRU(16, 32, 2, dropout=0.3), sequence, LEVELS),
    "encoder": (encoder, lambda: sequence(32), LEVELS),
    "encoder_dropout": (lambda: encoder(0.1), lambda: sequence(32), LEVELS),
    "weight_norm": (
        lambda: parametrizations.weight_norm(nn.Linear(16, 32)),
        sequence,
        LEVELS,
    ),
    "spectral_norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(16, 32)),
        sequence,
        LEVELS,
    ),
    "function": (WithFunction, lambda: torch.randn(4, 16), LEVELS),
    "checkpoint": (lambda: Checkpointed(False), lambda: torch.randn(4, 16), LEVELS),
    "checkpoint_reentrant": (lambda: Checkpointed(True), lambda: torch.randn(4, 16), LEVELS),
}


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, (*_, levels) in MODELS.items() for level in levels]
)
def test_saved_bytes_are_what_autograd_keeps(name: str, level: str) -> None:
    torch.manual_seed(0)
    make, sample, _ = MODELS[name]
    model, x = Summed(make()), sample()
    seen = torch_saved_bytes(model, (x,))
    summary = _core.summarize(capture(model, (x,), level=level))
    assert summary.saved_bytes == pytest.approx(seen, rel=0.02)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU()), encoder])
def test_under_autocast_the_cast_weights_are_kept(make) -> None:
    model = Summed(make(), low=True)
    x = torch.randn(4, 10, 32 if make is encoder else 16)
    graph = capture(model, (x,))
    assert _core.summarize(graph).saved_bytes == torch_saved_bytes(model, (x,))
    assert graph.notes == [
        "recorded from one run: autocast is used inside, and an export does not have its casts"
    ]
    assert graph.bind({"batch": 8}).tensors[graph.inputs[0]].shape[0] == 8


@pytest.mark.parametrize("level", ["auto", "trace", "joint", "step"])
def test_what_a_checkpoint_computes_again_is_in_the_backward(level: str) -> None:
    graph = capture(Summed(Checkpointed(False)), (torch.randn(4, 16),), level=level)
    flops = _core.summarize(graph).flops
    one = 2 * 4 * 16 * 16
    assert flops.forward == 3 * one
    # weight gradients of three, input gradients of two, the part's forward once more
    assert flops.backward == (3 + 2 + 1) * one


@pytest.mark.parametrize("level", ["trace", "joint", "step"])
def test_a_custom_functions_backward_is_no_forward(level: str) -> None:
    graph = capture(Summed(WithFunction()), (torch.randn(4, 16),), level=level)
    flops = _core.summarize(graph).flops
    assert flops.forward == 2 * 4 * 16 * 8
    # torch runs both products though the input needs none; AOTAutograd drops the one for it
    assert flops.backward == (1 if level == "joint" else 2) * 2 * 4 * 16 * 8
